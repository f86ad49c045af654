"""In: files, addresses and values that somebody else wrote.
Out: bytes, texts and JSON values within bounds, under the same rules whichever way they came.
"""
