"""In: Python functions.
Out: their arguments as JSON Schema, and calls of them with JSON in and text out.
"""
