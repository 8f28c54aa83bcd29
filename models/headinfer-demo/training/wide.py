"""Tools about anything: put together from the verbs and nouns of the training texts, so that which one is meant, and what
fills which parameter, can only be read off the request and the descriptions."""
from lexicon import PREPOSITION, past, third
from words import CITY, MONTH, WORDS

GET = ["get", "get", "find", "lookup", "fetch", "read", "show", "check", "tell"]
ACCENT = {"a": "áàäãâåą", "e": "éèëêę", "i": "íîï", "o": "óòöõôø", "u": "úùü", "c": "çć", "n": "ñń", "s": "śš", "z": "žż", "l": "ł"}


def a(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def proper(mk):
    """A name of a person or a place, now and then with letters beyond ASCII."""
    r = mk.r
    w = r.choice([mk.name(), r.choice(CITY), r.choice(mk.nouns).capitalize()])
    if r.random() < 0.25:
        at = [i for i, c in enumerate(w) if c in ACCENT]
        if at:
            i = r.choice(at)
            w = w[:i] + r.choice(ACCENT[w[i]]) + w[i + 1 :]
    return w


def some(mk, n):
    """A few words, as a title or a subject has them."""
    r = mk.r
    w = [r.choice(r.choice((mk.nouns, mk.nouns, mk.verbs, mk.adjectives or mk.nouns))) for _ in range(n)]
    if r.random() < 0.4:
        w.insert(r.randrange(len(w)), r.choice(["of", "the", "on", "and", "for"]))
    z = r.random()
    return " ".join(w).capitalize() if z < 0.2 else " ".join(x.capitalize() for x in w) if z < 0.5 else " ".join(w)


def code(mk):
    """A piece of a line of code, without quotes and braces."""
    r = mk.r
    d = r.choice(mk.docs["code"][0]) if "code" in mk.docs else ""
    i = r.randrange(max(1, len(d) - 200))
    lines = [s.strip()[:45].rstrip() for s in d[i : i + 200].split("\n")[1:-1]]
    lines = [s for s in lines if len(s) > 5 and not set(s) & set('"\\{}')]
    return r.choice(lines) if lines else "count(" + r.choice(mk.nouns) + ")"


def drawn(mk):
    """(type, a way to draw values)"""
    import tools

    r = mk.r
    k = r.randrange(17)
    letters = lambda n: "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(n))
    if k < 3:
        return "integer", lambda: r.randrange(1, 10 ** r.choice((1, 2, 3, 3)))
    draw = {
        3: lambda: proper(mk),
        4: lambda: proper(mk),
        5: lambda: f"{r.choice(mk.nouns)}{r.choice('- -')}{r.randrange(1, 100)}",
        6: lambda: letters(r.randrange(1, 4)) + r.choice(["", "-"]) + str(r.randrange(10, 10 ** r.choice((2, 4, 6)))),
        7: lambda: f"{r.randrange(24)}:{r.randrange(10, 60)}",
        8: lambda: r.choice([f"{r.randrange(1, 29)} {r.choice(MONTH)}", "tomorrow", "tonight", "Monday", "Friday", f"2026-{r.randrange(10, 13)}-{r.randrange(10, 29)}"]),
        9: lambda: letters(3),
        10: lambda: r.choice(mk.nouns),
        11: lambda: some(mk, r.randrange(2, 5)),
        12: lambda: tools.path(mk) if r.random() < 0.6 else f"{r.choice(mk.nouns)}/{r.choice(mk.nouns)}.{r.choice(('png', 'jpg', 'csv', 'pdf', 'log', 'zip', 'xml'))}",
        13: lambda: f"{r.choice(mk.nouns)}-{r.choice(mk.nouns)}",
        15: lambda: code(mk),
        16: lambda: f"SELECT {r.choice(mk.nouns)} FROM {r.choice(mk.nouns)}s" + r.choice(["", f" WHERE {r.choice(mk.nouns)} = {r.randrange(100)}", f" ORDER BY {r.choice(mk.nouns)}"]),
        14: lambda: f"{proper(mk)} {r.choice(mk.nouns).capitalize()}",
    }[k]
    return "string", draw


def word(mk, known):
    """A word; some are put together from the parts of two, so that new ones are read like known ones."""
    r = mk.r
    w = r.choice(known)
    if r.random() < 0.2:
        o = r.choice(known)
        w = w[: r.randrange(2, 1 + max(2, len(w) - 1))] + o[r.randrange(1, max(2, len(o) - 2)) :]
    return w


def spoken(mk, p, ty, quoted=False):
    """Ways in which a request gives a further parameter, {p} being its value."""
    r, x, word = mk.r, "{" + p + "}", p.replace("_", " ")
    prep = r.choice(PREPOSITION)
    if quoted:
        return [f'with the {word} "{x}"', f'and the {word} "{x}"', f'that says "{x}"', f'as "{x}"']
    if ty == "integer" and r.random() < 0.6:
        return [f"{prep} {x} {word}", f"to {x} {word}", f"with {x} {word}", f"of {x} {word}"]
    return [f"{prep} {x}", f"{prep} {x}", f"{prep} {word} {x}", f"{prep} the {word} {x}", f"with the {word} {x}", f"to {a(word)} of {x}"]


def wide(mk, like=None):
    """A tool about anything; like: another one whose verb or noun this one shares, as a near miss."""
    from tools import Tool

    r = mk.r
    verb, noun, other = word(mk, mk.verbs), word(mk, mk.nouns), word(mk, mk.nouns)
    if like is not None and hasattr(like, "verb") and r.random() < 0.4:
        verb, noun = (like.verb, noun) if r.random() < 0.5 else (verb, like.noun)
    k = r.random()
    params, texts = {}, []

    def add(p, text=None, ty=None, draw=None):
        while p in params:
            p = r.choice(mk.nouns)
        if draw is None:
            ty, draw = drawn(mk)
        w = p.replace("_", " ")
        text = text or r.choice([f"The {w}", f"Name of the {w}", f"Which {w}", f"The {w} to {verb}", f"{w.capitalize()} number" if ty == "integer" else f"{w.capitalize()} to use", f"What the {w} is", f"{r.choice(mk.nouns).capitalize()} of the {w}"])
        params[p] = (ty, text + r.choice(["", "."]), draw)
        return p

    stop = r.choice([".", ".", ""])
    if k < 0.08:
        name = r.choice([f"list_{noun}s", f"{verb}_{noun}s", f"get_{noun}s", f"{verb}_all_{noun}s"])
        text = f"{third(verb) if name.startswith(verb) else 'list' + 's'} the {noun}s of the {other}"
        does = verb if name.startswith(verb) else r.choice(["list", "show", "name"])
        asks = [f"{does.capitalize()} the {noun}s.", f"{does.capitalize()} all {noun}s of the {other}.", f"Which {noun}s does the {other} have?", f"Which {noun}s are there?", f"What {noun}s are in the {other}?", f"I want to see the {noun}s."]
        if name.startswith(verb):
            asks = asks[:2] + [f"I want you to {verb} the {noun}s of the {other}."]
    elif k < 0.42:  # something is asked about a thing
        get = r.choice(GET + [verb])
        name = r.choice([f"{get}_{noun}", f"{get}_{noun}", f"{noun}_of_{other}", f"{get}_{other}_{noun}", f"{other}_{noun}"])
        p = add(r.choice([other, other, "name", "id", "number", r.choice(mk.nouns)]))
        x = "{" + p + "}"
        text = r.choice([f"gets the {noun} of {a(other)}", f"gives the {noun} of {a(other)}", f"tells the {noun} at {a(other)}", f"{third(get if get not in ('lookup',) else 'find')} the {noun} of {a(other)}", f"tells where {a(noun)} of {a(other)} is", f"tells who {past(verb)} {a(noun)} of {a(other)}"])
        adj = r.choice(mk.adjectives or ["big"])
        asks = [
            f"What is the {noun} of {x}?",
            f"What is the {noun} of the {other} {x}?",
            f"How {adj} is the {noun} of {x}?",
            f"How {adj} is the {noun} {r.choice(PREPOSITION)} {x}?",
            f"When is the {noun} {adj} {r.choice(PREPOSITION)} {x}?",
            f"Where is the {noun} of {other} {x}?",
            f"Who {past(verb)} the {noun} of {x}?",
            f"What does the {noun} of {x} {verb}?",
            f"Tell me the {noun} {r.choice(PREPOSITION)} {x}.",
            f"I would like to know the {noun} of {x}.",
            f"{get.capitalize() if get != 'lookup' else 'Look up'} the {noun} of {x}.",
            f"Which {noun} has the {other} {x}?",
            f"Does {x} have {a(noun)}?",
            f"What does the {noun} {x} {r.choice(mk.verbs)}?",
            f"Who {past(r.choice(mk.verbs))} the {noun} {x}?",
        ]
        if r.random() < 0.25:
            q = add(r.choice(mk.nouns))
            asks = [f"{s[:-1]} {r.choice(spoken(mk, q, params[q][0]))}{s[-1]}" for s in asks]
            asks += [f"Who {past(verb)} {noun} {{{q}}} of {x}?", f"Who {past(verb)} the {noun} {{{q}}} of {x}?", f"What is {q} {{{q}}} of the {noun} {x}?"]
            text += f" and {a(q)}"
        if r.random() < 0.15:
            t1, t2 = "{" + p + "}", "{" + add(r.choice(["second", "target", "other", r.choice(mk.nouns)]), None, params[p][0], params[p][2]) + "}"
            text = f"gets the {noun} of two {other}s"
            asks = [f"What is the {noun} of {t1} and {t2}?", f"What is the {noun} between {t1} and {t2}?", f"Tell me the {noun} from {t1} to {t2}."]
    else:  # something is done
        name = r.choice([f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}_{other}_{noun}", verb])
        text = r.choice([f"{third(verb)} {a(noun)}", f"{third(verb)} the {noun}", f"{third(verb)} {a(noun)} of {a(other)}", f"{third(verb)} {a(noun)} for somebody"])
        quoted = r.random() < 0.12
        p = add(r.choice([noun, noun, other, "name", "id", "number", "target", "title", "file"]))
        x = "{" + p + "}"
        V = verb.capitalize()
        asks = [
            f"{V} the {noun} {x}.",
            f"{V} {noun} {x}.",
            f"{V} {a(noun)} {r.choice(PREPOSITION)} {x}.",
            f"{V} the {noun}s {r.choice(PREPOSITION)} {p.replace('_', ' ')} {x}.",
            f"I want to {verb} the {noun} {x}.",
            f"I would like to {verb} {a(noun)} {r.choice(PREPOSITION)} {x}.",
            f"I would like to {r.choice(mk.verbs)} the {noun} {x}.",
            f"I need {a(noun)} {r.choice(PREPOSITION)} {x}.",
            f"The {noun} {x} {third(r.choice(mk.verbs))}, {verb} it.",
            f"{V} me with {a(noun)} {r.choice(PREPOSITION)} {x}.",
            f"{r.choice(mk.verbs).capitalize()} me with {a(noun)} {r.choice(PREPOSITION)} {x}.",
            f"Is there {a(noun)} {r.choice(PREPOSITION)} {x}?",
            f"{V} what is called {x}, the {noun}.",
        ]
        if params[p][0] == "string" and params[p][2]()[:1].islower():
            asks += [f"{V} the {x} {noun}.", f"{V} {'{'}{p}{'}'} as {a(noun)}."]
        for _ in range(r.choice((0, 0, 1, 1, 1, 2))):
            q = add(r.choice([other, r.choice(mk.nouns), r.choice(mk.nouns), r.choice(mk.nouns) + "s", "date", "time", "to", "width", "percent", "city", "phone"]), *((None, "string", lambda: some(mk, r.randrange(1, 5))) if quoted else ()))
            y = "{" + q + "}"
            say = spoken(mk, q, params[q][0], quoted)
            plus = [f"{s[:-1]} {r.choice(say)}{s[-1]}" for s in asks[:7] + asks[9:10]]
            if not quoted:
                plus += [f"Make the {noun} {x} {y} {q.replace('_', ' ')} {r.choice(mk.adjectives or ['big'])}.", f"Is there a {x} {noun} {r.choice(PREPOSITION)} {y}?", f"{V} a {x} {noun} {r.choice(PREPOSITION)} {y}.", f"{V} {q.replace('_', ' ')} {y} of {x}.", f"{V} {q.replace('_', ' ')} {y} of the {noun} {x}."]
                if params[q][0] == "integer":
                    plus += [f"{V} the {x} {noun} to {y} {q.replace('_', ' ')}.", f"{V} {y} {noun}s {r.choice(PREPOSITION)} {x}."]
            asks = plus
            quoted = False
            text += r.choice(["", f" {r.choice(PREPOSITION)} {a(q.replace('_', ' '))}"])
    tool = Tool(name, text.capitalize() + stop, params, asks, noun)
    tool.verb, tool.noun, tool.thing = verb, noun, noun
    return tool


def wide_chain(mk):
    """(first tool, second tool, its parameter, forms that ask for both about {x}, draws x)"""
    from tools import Tool

    r = mk.r
    noun, thing, second, verb = word(mk, mk.nouns), word(mk, mk.nouns), word(mk, mk.nouns), word(mk, mk.verbs)
    ty, draw = drawn(mk)
    get = r.choice(GET[:6])
    p1 = r.choice([thing, thing, "name", "id", r.choice(mk.nouns)])
    gets = {"lookup": "looks up"}.get(get, third(get))
    one = Tool(r.choice([f"{get}_{noun}", f"{get}_{noun}", f"{get}_{thing}_{noun}", f"{noun}_of_{thing}"]), f"{gets} the {noun} of {a(thing)}.".capitalize(), {p1: (ty, r.choice([f"The {thing}", f"Name of the {thing}."]), draw)}, [], noun)
    p2 = r.choice([noun, noun, f"{noun}_id", "id", "name", "number", "place", "key", r.choice(mk.nouns)])
    x = draw()
    w = "look up" if get == "lookup" else get
    W = w[0].upper() + w[1:]
    on = r.choice(["of", "of", "at", "for", "in"])
    z = r.random()
    if z < 0.3:
        ask, tells, adj = r.choice([("Where is", "tells where", ""), ("When is", "tells when", " " + r.choice(mk.adjectives)), ("How " + r.choice(mk.adjectives) + " is", "tells how good", ""), ("What is", "describes", "")])
        two = Tool(r.choice([f"{verb}_{noun}", f"{noun}_{verb}", f"get_{noun}_{second}"]), (f"describes {a(noun)}." if tells == "describes" else f"{tells} {a(noun)} is.").capitalize(), {p2: ("string", f"{noun.capitalize()} {p2.replace('_', ' ')}", None)}, [], second)
        forms = [f"{ask} the {noun} of {x}{adj}?", f"{ask} the {noun} of {x}{adj}?", f"{ask} the {noun} of the {thing} {x}{adj}?", f"{W} the {noun} of {x} and {verb} it."]
    elif z < 0.55:
        two = Tool(r.choice([f"{verb}_{noun}", f"{verb}_{noun}", verb, f"{verb}_{second}"]), f"{third(verb)} {a(noun)}.".capitalize(), {p2: ("string", r.choice([f"The {noun}", f"{noun.capitalize()} {p2.replace('_', ' ')}", f"Which {noun}."]), None)}, [], verb + " " + noun)
        V = verb.capitalize()
        forms = [f"{V} the {noun} of {x}.", f"{V} {x}'s {noun}.", f"{W} the {noun} of {x} and {verb} it.", f"{W} the {noun} of the {thing} {x}, then {verb} it.", f"I want you to {verb} the {noun} of {x}.", f"{W} the {noun} of {x} first. Then {verb} it.", f"Can the {noun} of {x} be {past(verb)}? {V} it."]
    else:
        two = Tool(r.choice([f"get_{second}", f"find_{second}", f"{noun}_{second}", f"get_{noun}_{second}", f"check_{second}"]), f"gets the {second} {on} {a(r.choice([noun, noun, p2.replace('_', ' ')]))}.".capitalize(), {p2: ("string", r.choice([f"The {noun}", f"Name of the {noun}", f"The {p2.replace('_', ' ')}"]), None)}, [], second)
        forms = [f"What is the {second} {on} the {noun} of {x}?", f"{W} the {noun} of {x} and tell me its {second}.", f"{W} the {noun} of {x}, then get the {second}.", f"Which {second} does the {noun} of {x} have?", f"How {r.choice(mk.adjectives or ['big'])} is the {second} {on} the {noun} of {x}?", f"Tell me the {second} of {x}'s {noun}.", f"How much {second} does the {noun} of the {thing} {x} have?", f"Where is the {second} of the {noun} of {x}?", f"I need the {second} {on} {x}'s {noun}."]
    one.verb, one.noun, two.verb, two.noun = get, noun, verb, second
    one.thing = two.thing = thing
    return one, p1, x, two, p2, forms, noun, thing
