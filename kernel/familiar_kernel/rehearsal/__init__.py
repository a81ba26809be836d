"""The rehearsal: a scripted stand-in for the Messages API, for trying and testing without an
account.

It is not Claude and never says that it is: the model name in its answers starts with ``rehearsal``,
and a prompt that its script does not know is answered with what it is and what may be asked
instead.

From the outside in: :mod:`.command` is the command line, :mod:`.server` the HTTP side,
:mod:`.events` turns a scripted reply into bytes and pauses, :mod:`.matching` finds the rule that
answers, :mod:`.conversation` reads what has been said from a request, :mod:`.script` is what a
script may hold. Import what you need from those modules; this one imports nothing, so that reading
a script does not load a web server.
"""
