"""Training conversations whose answers are JSON: objects of several fields and lists, with values from the text before.

A form may be forced on a model that was asked for nothing of the kind. So half of these do not speak of JSON, and what
comes before the first value is not learned. What is learned is where a value ends, and where a list does.
"""
import json
from words import A0, A1, CITY, IM, MONTH, NOUN, SYSTEM, WORDS, turn

FIELDS = "name full_name fullName age home city street job trade email phone id number color size price amount date title author year country language status priority owner team version port path text answer sentence quote reason summary note kind type count total score done active found tags items names topics steps lines cities values results".split()
LISTS = set("tags items names topics steps lines cities values results".split())
FLAGS = set("done active found".split())
WHOLE = set("age number size price amount year count total score port".split())


def value(mk, field, most=4):
    """A value for a field of this name."""
    r = mk.r
    if field in LISTS:
        return [value(mk, "item") for _ in range(r.choice((0, 1, 1, 2, 2, 3, most)))]
    if field in FLAGS:
        return r.random() < 0.5
    if field in WHOLE:
        return r.randrange(10 ** r.choice((1, 2, 3, 4)))
    return r.choice(
        [mk.name(), f"{mk.name()} {mk.name()}", r.choice(CITY), r.choice(WORDS), r.choice(NOUN), f"{r.randrange(1, 29)} {r.choice(MONTH)}", f"{r.choice(WORDS)}-{r.randrange(10, 999)}", mk.value()]
    )


def nothing(field):
    """What a field may hold of which nothing was said."""
    return [[]] if field in LISTS else [False] if field in FLAGS else [0, 0, None] if field in WHOLE else ["", "", None]


def said(mk, who, field, v):
    """The sentence or line that gives the value."""
    r, f = mk.r, field.replace("_", " ").lower()
    if isinstance(v, bool):
        return f"{who} is {'' if v else 'not '}{f}."
    if isinstance(v, list):
        listed = " and ".join([", ".join(v[:-1]), v[-1]] if len(v) > 1 else v) or "none"
        return r.choice([f"The {f} of {who} are {listed}.", f"{f.capitalize()}: {', '.join(v) or '-'}"])
    return r.choice([f"The {f} of {who} is {v}.", f"{who}'s {f} is {v}.", f"{who} has the {f} {v}.", f"{f.capitalize()}: {v}"])


def written(mk, x):
    """JSON in one of the ways that a form allows."""
    z = mk.r.random()
    if z < 0.45:
        return json.dumps(x, ensure_ascii=False)
    return json.dumps(x, ensure_ascii=False, separators=(",", ":")) if z < 0.8 else json.dumps(x, ensure_ascii=False, indent=2)


def forced(mk, x):
    """An assistant's turn of which nothing before the first value is learned."""
    text = written(mk, x)
    first = next(iter(x.values())) if isinstance(x, dict) else x
    at = text.index(":") + 1 if isinstance(x, dict) else 0
    if isinstance(first, str):
        at = text.index('"', at) + 1
    elif isinstance(first, list):
        at = text.index("[", at) + 1
    return f"{IM}assistant\n{text[:at]}{A0}{text[at:]}<|im_end|>{A1}\n"


def extract(mk):
    """Some facts about somebody, and a form of them; what was not said stays empty."""
    r, who = mk.r, mk.name()
    fields = r.sample(FIELDS, r.randrange(1, 6))
    x = {f: value(mk, f) for f in fields}
    said_of = {f: said(mk, who, f, v) for f, v in x.items()}
    lines = list(said_of.values())
    if r.random() < 0.3:
        for gone in r.sample(fields, r.choice((1, 1, 1, len(fields)))):
            lines.remove(said_of.pop(gone))
            x[gone] = r.choice(nothing(gone))
    if r.random() < 0.5:
        r.shuffle(lines)
    text = r.choice([" ", "\n"]).join(lines) or f"{who} came to the {r.choice(NOUN)}."
    out = turn("system", r.choice(SYSTEM)) if r.random() < 0.4 else ""
    if r.random() < 0.5:
        q = r.choice([f"What is known about {who}?", f"Describe {who}.", f"Who is {who}?", "What does the text say?", f"Tell me about {who}.", ""])
        nested = {r.choice(("person", "entry", "result", "data")): x} if r.random() < 0.2 else [x] if r.random() < 0.1 else x
        return out + turn("user", f"{text}\n\n{q}".strip()) + forced(mk, nested)
    keys = ", ".join(fields)
    q = r.choice([f"Return JSON with {keys}.", f"Extract {keys} as JSON.", f"Answer as a JSON object with the fields {keys}.", f"JSON: {keys}"])
    return out + turn("user", f"{text}\n\n{q}") + turn("assistant", written(mk, x), True)


def wrapped(mk, a):
    """An answer within a form that was not asked for: alone, beside other fields, or in a list."""
    r, key = mk.r, mk.r.choice(("answer", "sentence", "Sentence", "text", "Quote", "result", "Finding", "content", "value"))
    z = r.random()
    if z < 0.55:
        return forced(mk, {key: a})
    if z < 0.7:
        return forced(mk, {key: a, r.choice(("found", "done")): not a.startswith("I could not")})
    if z < 0.8:
        return forced(mk, {key: a, r.choice(("items", "tags", "names")): r.choice(([], [a.split(" ")[0].strip(',."')]))})
    return forced(mk, {r.choice(("answers", "sentences", "items")): [a]}) if z < 0.9 else forced(mk, [a])
