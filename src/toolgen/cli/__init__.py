"""In: what is typed.
Out: calls of the library, results on stdout, messages and progress on stderr, an exit code.

One thin file a command; `app` puts them together. Nothing else imports this package.
"""
