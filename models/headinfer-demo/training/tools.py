"""Training conversations with tools: choose among those offered or none, copy arguments, use results, go two steps.

A tool is asked for in several ways; its name, its description or its parameters tell which one is meant. Many are put
together from verbs, things and made-up words, so that a choice must be read off the prompt and cannot be remembered.
"""
import json
import held_tools
from wide import proper, wide, wide_chain
from words import turn, NOUN, WORDS, CITY, MONTH, SYSTEM

NO_TOOL = "I have no tool for that."
ATTR = "price owner size color version status address phone email manager birthday temperature balance location population capital author title deadline budget height distance license port weight speed language currency length area editor salary score rank category rating capacity humidity name id team country city group department type limit schedule forecast".split()
THING = "product project user package city country server book employee company sensor house ship device account team order room car station river recipe song film course student patient contract customer ticket library file host repository".split()
OBJ = "order invoice booking package meeting subscription build job task message account device container branch contract report door gate printer camera pump machine cluster backup document playlist room seat issue user file service window lamp song alarm event note game lesson".split()
ACT = {
    "cancel": ("Cancels", ["Cancel", "Call off"]),
    "delete": ("Deletes", ["Delete", "Remove", "Get rid of"]),
    "open": ("Opens", ["Open"]),
    "close": ("Closes", ["Close", "Shut"]),
    "start": ("Starts", ["Start", "Launch", "Run"]),
    "stop": ("Stops", ["Stop", "Halt"]),
    "archive": ("Archives", ["Archive", "Put away"]),
    "approve": ("Approves", ["Approve", "Accept"]),
    "reject": ("Rejects", ["Reject", "Turn down"]),
    "ship": ("Ships", ["Ship", "Send out"]),
    "lock": ("Locks", ["Lock"]),
    "unlock": ("Unlocks", ["Unlock"]),
    "pause": ("Pauses", ["Pause"]),
    "resume": ("Resumes", ["Resume", "Continue"]),
    "print": ("Prints", ["Print"]),
    "download": ("Downloads", ["Download", "Fetch"]),
    "publish": ("Publishes", ["Publish"]),
    "renew": ("Renews", ["Renew", "Extend"]),
    "verify": ("Verifies", ["Verify", "Check"]),
    "show": ("Shows", ["Show me", "Show", "Display"]),
    "update": ("Updates", ["Update", "Refresh"]),
    "find": ("Finds", ["Find", "Look for", "Search for"]),
    "repair": ("Repairs", ["Repair", "Fix"]),
    "create": ("Creates", ["Create", "Make", "Add"]),
}
PAIR = [  # two arguments: name, description, parameters, ways to ask
    ("assign_{o}", "Assigns a {o} to a person.", ("{o}", "person"), ["Assign the {o} {a} to {b}.", "Give {b} the {o} {a}."]),
    ("move_{o}", "Moves a {o} to another place.", ("{o}", "target"), ["Move the {o} {a} to {b}.", "Put the {o} {a} into {b}."]),
    ("rename_{o}", "Renames a {o}.", ("old_name", "new_name"), ["Rename the {o} {a} to {b}.", "Call the {o} {a} {b} from now on."]),
    ("share_{o}", "Shares a {o} with someone.", ("{o}", "user"), ["Share the {o} {a} with {b}.", "Let {b} see the {o} {a}."]),
    ("set_{t}", "Sets the {t} of a {o}.", ("{o}", "{t}"), ["Set the {t} of {a} to {b}.", "Change the {t} of the {o} {a} to {b}."]),
    ("schedule_{o}", "Schedules a {o} for a day.", ("{o}", "date"), ["Schedule the {o} {a} for {b}.", "Plan the {o} {a} on {b}."]),
    ("post_{o}", "Posts a {o} to someone.", ("recipient", "text"), ['Post {a} a {o} that says "{b}".', 'Post a {o} to {a} saying "{b}".']),
    ("reserve_{o}", "Reserves a {o} for somebody on a day.", ("name", "day"), ["Reserve a {o} for {a} on {b}.", "I need a {o} for {a} on {b}."]),
    ("compare_{o}s", "Compares two {o}s.", ("first", "second"), ["Compare the {o}s {a} and {b}.", "Which is better, {o} {a} or {b}?"]),
    ("get_distance", "Gets the distance between two places.", ("start", "end"), ["How far is it from {a} to {b}?", "What is the distance between {a} and {b}?"]),
    ("write_file", "Writes text to a file.", ("path", "text"), ['Write "{b}" to the file {a}.', 'Put "{b}" into {a}.']),
]


class Tool:
    """name, description, params {name: (type, description, draws a value)}, asks: templates over the parameters."""

    def __init__(self, name, text, params, asks, about="result"):
        self.base = self.name = name
        self.text, self.params, self.asks, self.about = text, params, asks, about

    def ask(self, mk):
        args = {k: draw() for k, (_, _, draw) in self.params.items()}
        form = mk.r.choice(self.asks)
        q = form.format(**{k: ("on" if v else "off") if isinstance(v, bool) else v for k, v in args.items()})
        return polite(mk, q), args


def path(mk):
    r = mk.r
    return (
        r.choice(["src/", "lib/", "docs/", "app/", "tests/", "src/core/", "", ""])
        + r.choice([mk.name(), mk.name().lower(), r.choice(NOUN), r.choice(WORDS).capitalize() + r.choice(NOUN).capitalize()])
        + r.choice([".cs", ".cs", ".py", ".md", ".json", ".txt", ".js", ".c", ".rs", ".go"])
    )


def words(mk, most=4):
    """Some words as they stand in the texts, or made-up ones."""
    r = mk.r
    if r.random() < 0.4 or "prose" not in mk.docs:
        return r.choice([mk.name(), r.choice(WORDS), r.choice(NOUN), f"{r.choice(WORDS)} {r.choice(NOUN)}"])
    d = r.choice(mk.docs["prose"][0])
    i = r.randrange(max(1, len(d) - 80))
    w = [x for x in (y.strip(".,;:()[]") for y in d[i : i + 80].split()[1:-1]) if x.isalpha()]
    return " ".join(w[: r.randrange(1, most + 1)]) or mk.name()


def number(mk):
    return mk.r.randrange(1, 10 ** mk.r.choice((1, 2, 3, 4)))


def key(mk):
    """A way to name a thing: a number, a code, a name."""
    r = mk.r
    k = r.randrange(5)
    if k == 0:
        return lambda: number(mk)
    if k == 1:
        return lambda: "".join(r.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(r.randrange(3, 8)))
    if k == 2:
        return lambda: f"{r.choice(WORDS)}-{r.randrange(10, 999)}"
    return (lambda: mk.name()) if k == 3 else (lambda: r.choice([mk.name(), r.choice(WORDS), r.choice(CITY)]))


def kind(draw):
    v = draw()
    return "boolean" if isinstance(v, bool) else "integer" if isinstance(v, int) else "string"


def polite(mk, q):
    r = mk.r
    z = r.random()
    low = q[0].lower() + q[1:] if q[:2] != "I " and not q.split(" ")[0].isupper() else q
    if z < 0.6:
        return q
    if q.endswith("?"):
        return r.choice([f"Tell me: {low}", f"{q} I need it now.", f"Please tell me: {low}", f"Hello. {q}", f"{q[:-1]}, please?"])
    if q.startswith(("I ", "The ")):
        return r.choice([f"{q} Thanks.", f"Hello. {q}", f"Please help: {q}"])
    return r.choice(
        [f"Please {low}", f"Can you {low[:-1]}?", f"Could you {low[:-1]}, please?", f"{q[:-1]}, please.", f"I want you to {low}", f"{q[:-1]} for me.", f"Hello. {q}", f"Now {low}", f"{q} Thanks."]
    )


def reader(mk):
    name = mk.r.choice(["read_file", "open_file", "get_file", "load_document"])
    p = mk.r.choice(["path", "path", "file", "name"])
    text = mk.r.choice(["Reads a file of the folder.", "Reads a file of the repository.", "Returns the text of a file."])
    asks = [f"Open {{{p}}}.", f"Read the file {{{p}}}.", f"What is in {{{p}}}?", f"Read {{{p}}}."]
    return Tool(name, text, {p: ("string", "Path of the file.", lambda: path(mk))}, asks, "file")


def known(mk):
    """One of the tools that examples everywhere use."""
    r = mk.r
    place = lambda: r.choice(CITY + [mk.name()])
    one = lambda name, text, p, what, draw, asks, about=None: Tool(
        name, text, {p: (kind(draw), what, draw)}, [a.replace("{}", "{" + p + "}") for a in asks], about or name
    )
    k = r.randrange(17)
    if k == 0:
        asks = ["What is the weather in {}?", "How is the weather in {} today?", "Weather in {}, please.", "Is it raining in {}?"]
        text = r.choice(["Gets the current weather for a city.", "Gets the weather of a city."])
        return one("get_weather", text, r.choice(["city", "city", "location"]), r.choice(["The city name.", "Name of the city"]), place, asks, "weather")
    if k == 1:
        return one("get_time", "Gets the current time in a city.", "city", "The city.", place, ["What time is it in {}?", "Tell me the time in {}."], "time")
    if k == 2:
        op, w = r.choice([("add", "plus"), ("multiply", "times"), ("subtract", "minus")])
        n = lambda: number(mk)
        p = {"a": ("number", "The first number.", n), "b": ("number", "The second number.", n)}
        return Tool(op, f"Computes a {w} b.", p, [f"What is {{a}} {w} {{b}}?", f"Compute {{a}} {w} {{b}}."])
    if k == 3:
        return reader(mk)
    if k == 4:
        asks = ["Search for {}.", "Find documents about {}.", "Look for {} in the documents."]
        return one("search", "Searches the documents for a text.", "query", "What to search for.", lambda: words(mk), asks)
    if k == 5:
        asks = ["Where is {} defined?", "Find the symbol {}.", "Find the definition of {}."]
        return one("find_symbol", "Finds where a symbol is defined.", "name", "The symbol.", lambda: mk.name(3), asks)
    if k == 6:
        money = lambda: r.choice(["USD", "EUR", "GBP", "JPY", "CHF"])
        p = {
            "amount": ("number", "The amount.", lambda: number(mk)),
            "from": ("string", "Currency to convert from.", money),
            "to": ("string", "Currency to convert to.", money),
        }
        return Tool("convert_currency", "Converts an amount between currencies.", p, ["Convert {amount} {from} to {to}.", "How much is {amount} {from} in {to}?"])
    if k == 7:
        return one("set_timer", "Sets a timer.", "minutes", "Minutes to wait.", lambda: number(mk), ["Set a timer for {} minutes.", "Remind me in {} minutes."])
    if k == 8:
        p = {
            "title": ("string", "Title.", lambda: words(mk)),
            "priority": ("string", "low, medium or high.", lambda: r.choice(["low", "medium", "high"])),
        }
        return Tool("create_ticket", "Creates a ticket.", p, ["Create a {priority} priority ticket titled {title}.", 'Open a ticket "{title}" with {priority} priority.'], "ticket")
    if k == 9:
        sym = lambda: "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(r.choice((3, 4))))
        return one("get_stock_price", "Gets the price of a stock.", "symbol", "Ticker symbol.", sym, ["What is the price of {}?", "How much is {} stock?"], "price")
    if k == 10:
        p = {
            "text": ("string", "The text.", lambda: words(mk)),
            "language": ("string", "Target language.", lambda: r.choice(["French", "German", "Spanish", "Japanese", "Italian"])),
        }
        return Tool("translate", "Translates a text.", p, ['Translate "{text}" to {language}.', "How do you say {text} in {language}?"])
    if k == 11:
        return one("get_user", "Looks up a user.", "name", "The user's name.", lambda: mk.name(), ["Who is {}?", "Look up the user {}.", "Get the profile of {}."], "user")
    if k == 12:
        p = {"id": ("integer", "The light.", lambda: number(mk)), "on": ("boolean", "Whether it is on.", lambda: r.random() < 0.5)}
        return Tool("change_light", "Turns a light on or off.", p, ["Turn {on} light {id}.", "Switch light {id} {on}."], "light")
    if k == 13:
        noun = r.choice(NOUN)
        asks = [f"Look up the {noun} {{}}.", f"Find the {noun} called {{}}.", f"Get {noun} {{}}."]
        return one(f"lookup_{noun}", f"Looks up a {noun}.", r.choice(["key", "name", "id"]), f"Which {noun}.", lambda: words(mk, 2), asks, noun)
    name, text, asks, about = r.choice(
        [
            ("list_files", r.choice(["Lists the files of the folder.", "Lists the files"]), ["Please list the files.", "List the files.", "Which files are there?", "Show me the files."], "file"),
            ("get_time", "Gets the time", ["What time is it?", "Tell me the time.", "What is the time?"], "time"),
            ("get_date", "Gets today's date.", ["What day is it today?", "What is the date?", "Which date is it today?"], "date"),
            ("get_status", "Returns the current state.", ["What is the current status?", "Check the status.", "What is the state?"], "status"),
            ("list_lights", "Lists the lights and their states.", ["Which lights are there?", "List the lights."], "light"),
        ]
    )
    return Tool(name, text, {}, asks, about)


def made(mk, like=None):
    """A tool put together; like: another one whose verb or thing this one shares, as a near miss."""
    r = mk.r
    word = lambda known: mk.name().lower() if r.random() < 0.25 else r.choice(known)
    k = r.random()
    draw = key(mk)
    t = kind(draw)
    if k < 0.36:  # an attribute of a thing
        attr, thing = word(ATTR), word(THING)
        if like and r.random() < 0.5:
            attr, thing = (like.about, thing) if r.random() < 0.3 else (attr, getattr(like, "thing", thing))
        p = r.choice([thing, thing, "name", "id", f"{thing}_id", f"{thing}Name"])
        name = r.choice([f"get_{attr}", f"get_{thing}_{attr}", f"{thing}_{attr}", f"find_{attr}", f"fetch_{attr}", f"lookup_{attr}", f"{attr}_of_{thing}"])
        text = r.choice([f"Gets the {attr} of a {thing}.", f"Returns the {attr} of the given {thing}.", f"Looks up a {thing}'s {attr}."])
        x = "{" + p + "}"
        asks = [f"What is the {attr} of {x}?", f"What is the {attr} of the {thing} {x}?", f"Tell me the {attr} of {x}.", f"Which {attr} does {x} have?", f"I need the {attr} of the {thing} {x}.", f"Give me {x}'s {attr}.", f"Look up the {attr} of {x}.", f"Find the {attr} of {thing} {x}."]
        tool = Tool(name, text, {p: (t, r.choice([f"The {thing}.", f"Which {thing}.", f"Name of the {thing}", f"The {thing} to look at."]), draw)}, asks, attr)
        tool.thing = thing
        return tool
    o = word(OBJ)
    if like and r.random() < 0.4:
        o = getattr(like, "thing", o)
    if k < 0.64:  # something done to a thing
        verb = r.choice(tuple(ACT))
        does, says = ACT[verb]
        p = r.choice([o, "id", "name", f"{o}_id", "number", f"{o}Name"])
        x = "{" + p + "}"
        asks = [f"{s} {f} {x}." for s in says for f in (o, f"the {o}", f"{o} number" if t == "integer" else f"the {o} called")]
        tool = Tool(f"{verb}_{o}", f"{does} a {o}.", {p: (t, f"The {o}.", draw)}, asks, f"{verb} {o}")
    elif k < 0.84:  # two arguments
        name, text, params, asks = r.choice(PAIR)
        a = ATTR[r.randrange(len(ATTR))]
        fill = lambda s: s.replace("{o}", o).replace("{t}", a)
        p, q = map(fill, params)
        if p == q:
            q += "2"
        second = {
            "date": lambda: f"{r.randrange(1, 29)} {r.choice(MONTH)}",
            "day": lambda: r.choice("Monday Tuesday Wednesday Thursday Friday Saturday Sunday tomorrow".split()),
            "text": lambda: words(mk, 6),
        }.get(q, lambda: r.choice([mk.name(), r.choice(WORDS), r.choice(CITY)]))
        first = (lambda: path(mk)) if p == "path" else (lambda: mk.name()) if p == "recipient" else draw
        params = {p: (kind(first), f"The {p.replace('_', ' ')}.", first), q: ("string", f"The {q.replace('_', ' ')}.", second)}
        asks = [fill(s).replace("{a}", "{" + p + "}").replace("{b}", "{" + q + "}") for s in asks]
        tool = Tool(fill(name), fill(text), params, asks, fill(name))
    elif k < 0.9:
        asks = [f"List the {o}s.", f"Which {o}s are there?", f"Show me all {o}s.", f"What {o}s do we have?"]
        tool = Tool(r.choice([f"list_{o}s", f"get_{o}s", f"all_{o}s"]), f"Lists the {o}s.", {}, asks, o + "s")
    elif k < 0.95:
        p = r.choice(["query", "text", "about"])
        asks = [f"Search the {o}s for {{{p}}}.", f"Find {o}s about {{{p}}}.", f"Look for {o}s with {{{p}}}."]
        tool = Tool(f"search_{o}s", f"Searches the {o}s.", {p: ("string", "What to look for.", lambda: words(mk))}, asks, f"search {o}")
    else:
        thing = word(THING)
        asks = [f"How many {o}s does the {thing} {{{thing}}} have?", f"Count the {o}s of {{{thing}}}.", f"How many {o}s of {{{thing}}} are there?"]
        tool = Tool(f"count_{o}s", f"Counts the {o}s of a {thing}.", {thing: (t, f"Name of the {thing}", draw)}, asks, f"count {o}")
    tool.thing = o
    return tool


def restyle(mk, name):
    r = mk.r
    p = "".join(w.capitalize() for w in name.split("_"))
    plugin = r.choice([mk.name(), mk.name().lower(), r.choice(NOUN), name.split("_")[-1]])
    # Semantic Kernel names a plugin's functions plugin_function.
    return r.choice([name, name, name, p, p[0].lower() + p[1:], f"{plugin}-{name}", f"{plugin}_{name}", f"{plugin.lower()}_{name}", f"{plugin}_{p}", f"{plugin}-{p}"])


def any_tool(mk, like=None):
    """A tool that the evaluation does not ask for."""
    while True:
        z = mk.r.random()
        t = known(mk) if z < 0.15 else made(mk, like) if z < 0.35 else wide(mk, like)
        if t.base not in held_tools.T and t.base not in held_tools.CHAINED:
            return t


def offer(mk, n, *first):
    """The first tools and up to n others that are about something else."""
    r, out = mk.r, list(first)
    for i in range(n):
        like = r.choice(out) if out and r.random() < 0.5 else None
        t = any_tool(mk, like)
        if all(t.base != s.base and t.about != s.about for s in out):
            out.append(t)
    style = r.random()
    for t in out:
        t.name = restyle(mk, t.base) if style < 0.6 else t.base
    return out


def system(mk, specs, said):
    """The system turn that the chat template writes for tools."""
    r = mk.r
    swap, bare, plain = r.random() < 0.5, r.random() < 0.12, r.random() < 0.15
    lines = []
    for t in specs:
        props = {}
        for k, (ty, text, _) in t.params.items():
            props[k] = {"type": ty} if plain else {"description": text, "type": ty} if swap else {"type": ty, "description": text}
        f = {"name": t.name, "description": t.text, "parameters": {"type": "object", "properties": props}}
        if bare:
            del f["description"]
        if t.params or r.random() < 0.3:
            f["parameters"]["required"] = list(t.params)
        lines.append(json.dumps({"type": "function", "function": f}, ensure_ascii=False))
    r.shuffle(lines)
    return (
        said
        + "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        + "\n".join(lines)
        + '\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def written(name, args):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(args, ensure_ascii=False)}}}\n</tool_call>'


def answer_call(tool, args):
    return turn("assistant", written(tool.name, args), True)


def response(text):
    return turn("user", f"<tool_response>\n{text}\n</tool_response>")


def result(mk, tool, args):
    """(what the tool returns, what is said then)"""
    r = mk.r
    v = r.choice([mk.value(), mk.value(), f"{number(mk)} {r.choice(('degrees', 'items', 'euros', 'km', 'minutes'))}", words(mk)])
    said = f"The result is {v}."
    x = next(iter(args.values()), None)
    about = tool.about.replace("_", " ")
    z = r.random()
    if z < 0.28 or not x and 0.75 < z < 0.92:
        return v, said
    if z < 0.34:
        return json.dumps(v), said
    if z < 0.5:
        k = r.choice(["result", "value", "answer", "status", "text", "temperature", "location", tool.about])
        return json.dumps({k: v}), said
    if z < 0.6:
        fields = {mk.name(2).lower(): mk.value(), r.choice(ATTR): number(mk), tool.about: v}
        items = list(fields.items())
        r.shuffle(items)
        return json.dumps(dict(items)), f"The result is {fields[tool.about]}."
    if z < 0.75:
        v = r.choice([v, f"{v} and {r.choice(WORDS)}"]) + (f" in {x}" if x and r.random() < 0.4 else "")
        return f"It is {v}.", f"The result is {v}."
    if z < 0.92:
        s = r.choice([f"The {about} of {x} is {v}.", f"{x}: {v}", f"Done: {about} {x}.", f"There is no {about} {x}.", f"{x} has {v}.", f"The {about} is ready: {v}."])
        return s, s
    lines = "\n".join(path(mk) if tool.about == "file" else mk.value() for _ in range(r.randrange(2, 9)))
    return lines, lines


def call(mk, tool):
    """Turns that ask for the tool, call it and say what came back."""
    q, args = tool.ask(mk)
    if tool.about == "file" and args and mk.r.random() < 0.5:
        text = mk.text(mk.r.choice(("code", "prose") if "code" in mk.docs else ("prose",)), mk.r.randrange(200, 2500))[0]
        back, said = text, "I have read it."
    else:
        back, said = result(mk, tool, args)
    return turn("user", q) + answer_call(tool, args) + response(back) + turn("assistant", said, True)


def none(mk, specs):
    """A turn that no offered tool is for."""
    r = mk.r
    z = r.random()
    if z < 0.25:
        asks, said = r.choice(mk.CHAT)
        return turn("user", r.choice(asks)) + turn("assistant", said, True)
    if z < 0.5:
        facts, _, _ = mk.facts(r.randrange(1, 4))
        q, a = r.choice(facts)[1:]
        return turn("user", " ".join(f[0] for f in facts) + r.choice(["\n\n", "\n\n", "\n", " "]) + r.choice(q)) + turn("assistant", a, True)
    for _ in range(9):
        t = any_tool(mk, r.choice(specs) if r.random() < 0.15 else None)
        if all(t.base != s.base and t.about != s.about for s in specs):
            return turn("user", t.ask(mk)[0]) + turn("assistant", NO_TOOL, True)
    return ""


def conversation(mk):
    r = mk.r
    specs = offer(mk, r.choice((1, 2, 3, 4, 5, 5, 5, 6)))
    out = turn("system", system(mk, specs, r.choice(SYSTEM[:1] * 4 + SYSTEM)))
    for _ in range(r.choice((1, 2, 3, 4))):
        out += none(mk, specs) if r.random() < 0.3 else call(mk, r.choice(specs))
    return out


def known_chain(mk):
    """As wide_chain, of everyday attributes and things."""
    r = mk.r
    person = r.random() < 0.6
    attr, thing, second = r.choice(ATTR), r.choice(THING), r.choice(ATTR + OBJ[:20])
    if r.random() < 0.3:
        attr = mk.name().lower()
    source = (lambda: mk.name()) if person else key(mk)
    p1 = r.choice(["name", thing, "id", f"{thing}_id"])
    get = r.choice(["get", "find", "lookup", "fetch"])
    says = {"get": "Gets", "find": "Finds", "lookup": "Looks up", "fetch": "Fetches"}[get]
    one = Tool(f"{get}_{attr}", f"{says} the {attr} of a {thing}.", {p1: (kind(source), f"The {thing}.", source)}, ["{%s}" % p1], attr)
    p2 = r.choice([attr, attr, "id", f"{attr}_id", "name", "key"])
    x = source()
    acts = r.random() < 0.45
    if acts:
        verb = r.choice(tuple(ACT))
        says = r.choice(ACT[verb][1])
        two = Tool(f"{verb}_{attr}", f"{ACT[verb][0]} a {attr}.", {p2: ("string", f"The {attr}.", None)}, [], f"{verb} {attr}")
        low = says[0].lower() + says[1:]
        forms = [
            f"Find the {attr} of {x} and {low} it.",
            f"{says} the {attr} of {x}.",
            f"Look up the {attr} of the {thing} {x}, then {low} it.",
            f"{says} {x}'s {attr}.",
            f"Get the {attr} of {x}. Then {low} it.",
            f"{says} the {attr} that belongs to the {thing} {x}.",
        ]
    else:
        two = Tool(r.choice([f"get_{second}", f"{attr}_{second}", f"find_{second}", f"get_{attr}_{second}"]), f"Gets the {second} of a {attr}.", {p2: ("string", f"The {attr}.", None)}, [], second)
        forms = [
            f"What is the {second} of the {attr} of {x}?",
            f"Find the {attr} of {x} and tell me its {second}.",
            f"Get the {attr} of the {thing} {x}, then its {second}.",
            f"Which {second} does the {attr} of {x} have?",
            f"I need the {second} for {x}'s {attr}.",
            f"Look up the {attr} of {x} first, then get the {second}.",
            f"Tell me the {second} of {x}'s {attr}.",
            f"What is the {second} in the {attr} of {thing} {x}?",
        ]
    return one, p1, x, two, p2, forms, attr, thing


def chain(mk):
    """Two tools, where the first one's result holds the second one's argument."""
    r = mk.r
    one, p1, x, two, p2, forms, attr, thing = (wide_chain if r.random() < 0.7 else known_chain)(mk)
    if {one.base, two.base} & {*held_tools.T, *held_tools.CHAINED} or one.base == two.base or one.about == two.about or p1 == p2 and r.random() < 0.7:
        return conversation(mk)
    found = r.choice([mk.name(), proper(mk), str(number(mk)), mk.value(), r.choice(CITY), f"{r.choice(mk.nouns)}-{number(mk)}", f"{r.choice('ABCDEFGHKLMPQRSTXZ')}{r.randrange(100, 10**6)}"])
    specs = offer(mk, r.choice((0, 1, 2, 3, 3, 3, 4)), one, two)
    z = r.random()
    if z < 0.35:
        back = found
    elif z < 0.55:
        back = json.dumps({r.choice([attr, p2, "result"]): found}, ensure_ascii=False)
    elif z < 0.75:
        items = [(r.choice([attr, p2]), found), (r.choice(THING), mk.value()), (r.choice(mk.nouns), r.choice([number(mk), r.choice(mk.nouns)]))]
        r.shuffle(items)
        back = json.dumps(dict(items), ensure_ascii=False)
    else:
        back = r.choice([f"The {attr} of {x} is {found}.", f"{x}: {found}", f"{attr} {found}", f"It is {found}.", f"{x} has the {attr} {found}."])
    given = int(found) if found.isdigit() and r.random() < 0.3 else found
    if isinstance(given, int):
        two.params[p2] = ("integer", *two.params[p2][1:])
    last, said = result(mk, two, {p2: found})
    out = turn("system", system(mk, specs, r.choice(SYSTEM[:1] * 4 + SYSTEM)))
    if r.random() < 0.2:
        out += call(mk, specs[-1]) if len(specs) > 2 else ""
    out += turn("user", polite(mk, r.choice(forms))) + answer_call(one, {p1: x}) + response(back)
    out += answer_call(two, {p2: given}) + response(last) + turn("assistant", said, True)
    if r.random() < 0.3 and len(specs) > 2:
        out += call(mk, specs[-1])
    return out
