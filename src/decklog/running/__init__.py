"""Running an agent in our place: recorded while it runs, and gone on with after a usage limit.

`runner` ties it together; `passing` is the program, its streams and its terminal; `limits` keeps
what is to be resumed, and `resets` reads in the agent's words when.
"""
