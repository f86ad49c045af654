"""In: token ids of one or many sequences, and a checkpoint's model.
Out: hidden states and scores. The only package that runs the model; everything else asks it.
"""
