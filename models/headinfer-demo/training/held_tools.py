"""Tools for the evaluation alone, written by hand: none of their names is made in training."""
import json, re

NAMES = "Marisol Henrik Okafor Priyanka Tobias Yevgenia Lindqvist Amadou Rosalind Kaito".split()
CITIES = "Bergen Porto Kraków Osaka Quito Turin Utrecht Leipzig Montreal Lagos".split()
T = {  # name: (description, {parameter: (type, description)}, questions)
    "get_battery_level": ("Gets the battery level of a device.", {"device": ("string", "Name of the device")}, ["What is the battery level of {device}?", "How full is the battery of {device}?"]),
    "send_email": ("Sends an email.", {"to": ("string", "Who receives it"), "subject": ("string", "Subject line")}, ['Send an email to {to} with the subject "{subject}".']),
    "play_track": ("Plays a track of music.", {"title": ("string", "Title of the track")}, ["Play the track {title}.", "I would like to hear the track {title}."]),
    "book_flight": ("Books a flight to a city.", {"destination": ("string", "City to fly to"), "date": ("string", "Day of the flight")}, ["Book a flight to {destination} on {date}.", "I need a flight to {destination} on {date}."]),
    "track_parcel": ("Tells where a parcel is.", {"number": ("string", "Parcel number")}, ["Where is parcel {number}?", "Track the parcel {number}."]),
    "find_restaurant": ("Finds a restaurant in a city.", {"cuisine": ("string", "Kind of food"), "city": ("string", "City to look in")}, ["Find a {cuisine} restaurant in {city}.", "Is there a {cuisine} restaurant in {city}?"]),
    "restart_service": ("Restarts a service on the server.", {"service": ("string", "Name of the service")}, ["Restart the service {service}.", "The service {service} hangs, restart it."]),
    "get_exchange_rate": ("Gets the exchange rate of two currencies.", {"base": ("string", "Base currency"), "quote": ("string", "Other currency")}, ["What is the exchange rate of {base} and {quote}?"]),
    "resize_image": ("Resizes an image.", {"file": ("string", "Image file"), "width": ("integer", "Width in pixels")}, ["Resize the image {file} to a width of {width}.", "Make the image {file} {width} pixels wide."]),
    "set_alarm": ("Sets an alarm.", {"time": ("string", "When it rings")}, ["Set an alarm for {time}.", "Wake me with an alarm at {time}."]),
    "define_word": ("Gives the definition of a word.", {"word": ("string", "The word")}, ["What does the word {word} mean?", "Define the word {word}."]),
    "water_plants": ("Waters the plants of a garden bed.", {"bed": ("integer", "Number of the bed"), "liters": ("integer", "How much water")}, ["Water the plants in bed {bed} with {liters} liters."]),
    "get_tide": ("Gets the tide at a port.", {"port": ("string", "Name of the port")}, ["How high is the tide at {port}?", "When is the tide high in {port}?"]),
    "list_branches": ("Lists the branches of the repository.", {}, ["List the branches.", "Which branches does the repository have?"]),
    "blame_line": ("Tells who last changed a line of a file.", {"file": ("string", "Path of the file"), "line": ("integer", "Line number")}, ["Who changed line {line} of {file}?", "Blame line {line} of {file}."]),
    "run_query": ("Runs an SQL query.", {"sql": ("string", "The query")}, ["Run the query {sql}."]),
    "dim_lamp": ("Dims a lamp.", {"lamp": ("string", "Which lamp"), "percent": ("integer", "Brightness")}, ["Dim the {lamp} lamp to {percent} percent."]),
    "read_sensor": ("Reads a sensor.", {"sensor": ("string", "Name of the sensor")}, ["What does the sensor {sensor} say?", "Read the sensor {sensor}."]),
    "add_contact": ("Adds a contact to the address book.", {"name": ("string", "Name of the contact"), "phone": ("string", "Phone number")}, ["Add the contact {name} with the phone number {phone}."]),
    "hire_bike": ("Hires a bike at a station.", {"station": ("string", "Where the bike is")}, ["Hire a bike at {station}.", "I want to hire a bike from {station}."]),
}
NONE = [
    "Hello",
    "Thank you!",
    "Who are you?",
    "The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?",
    "The owner of the green mill is Tukesina.\n\nWho owns the green mill?",
    "Feed the goldfish.",
    "What is the shoe size of Henrik?",
    "Order 12 pencils.",
]


CHAINED = "find_parcel get_birthplace get_printer get_toner lookup_supplier call_supplier".split()


def value(r, key):
    return {
        "device": lambda: r.choice(["tablet-7", "phone-31", "Kestrel", "laptop 12"]),
        "to": lambda: r.choice(NAMES),
        "name": lambda: r.choice(NAMES),
        "subject": lambda: r.choice(["minutes of the meeting", "your question", "spring cleaning", "invoice for May"]),
        "title": lambda: r.choice(["Blue Monday Morning", "Rain on Tin", "Halfway Home"]),
        "destination": lambda: r.choice(CITIES),
        "city": lambda: r.choice(CITIES),
        "port": lambda: r.choice(CITIES),
        "station": lambda: r.choice(["Mill Lane", "Dock Road", "Elm Square"]),
        "date": lambda: f"{r.randrange(1, 29)} {r.choice(('March', 'June', 'October'))}",
        "number": lambda: f"{r.choice('QRZ')}{r.randrange(10**5, 10**6)}",
        "cuisine": lambda: r.choice(["Thai", "Greek", "vegan", "Ethiopian"]),
        "service": lambda: r.choice(["nginx", "mail-relay", "indexer-2"]),
        "base": lambda: r.choice(["SEK", "NOK", "PLN"]),
        "quote": lambda: r.choice(["CAD", "AUD", "BRL"]),
        "file": lambda: r.choice(["banner.png", "src/Program.cs", "photos/cliff.jpg", "docs/notes.md"]),
        "time": lambda: f"{r.randrange(5, 10)}:{r.randrange(10, 60)}",
        "word": lambda: r.choice(["lattice", "petrichor", "gambit"]),
        "sql": lambda: r.choice(["SELECT count(*) FROM orders", "SELECT name FROM users WHERE id = 7"]),
        "lamp": lambda: r.choice(["kitchen", "hall", "desk"]),
        "sensor": lambda: r.choice(["T-14", "boiler", "roof-east"]),
        "phone": lambda: f"0{r.randrange(100, 999)}-{r.randrange(1000, 9999)}",
    }.get(key, lambda: r.randrange(2, 900))()


def shape(name, text, params):
    """A tool as requests describe it."""
    props = {k: {"description": d, "type": t} for k, (t, d) in params.items()}
    form = {"type": "object", "properties": props, **({"required": list(params)} if params else {})}
    return {"type": "function", "function": {"name": name, "description": text, "parameters": form}}


def schema(name):
    return shape(name, *T[name][:2])


def choices(r):
    """40 of (question, five tools, the call or None): each tool is asked for, some twice, and eight times none fits."""
    out = []
    for name, (_, params, questions) in T.items():
        for q in questions:
            args = {k: value(r, k) for k in params}
            others = r.sample([n for n in T if n != name], 4)
            out.append((q.format(**args), [*map(schema, r.sample([name, *others], 5))], (name, args)))
    out = r.sample(out, 32)
    return out + [(q, [*map(schema, r.sample(tuple(T), 5))], None) for q in NONE]


def of_plugins(r, cases):
    """The same tools, named as Semantic Kernel names a plugin's functions."""
    out = []
    for q, offered, want in cases:
        name = {t["function"]["name"]: r.choice(("home", "office", "travel", "shop", "Dev")) + "_" + t["function"]["name"] for t in offered}
        offered = [{**t, "function": {**t["function"], "name": name[t["function"]["name"]]}} for t in offered]
        out.append((q, offered, want and (name[want[0]], want[1])))
    return out


def chains(r):
    """16 loops of two tools among five, with what the tools return."""
    tool = lambda name, text, key, what: shape(name, text, {key: ("string", what)})
    kinds = [
        (tool("find_parcel", "Finds the parcel of a customer.", "customer", "Name of the customer"), tool("track_parcel", "Tells where a parcel is.", "number", "Parcel number"), ["Where is the parcel of {x}?", "Find the parcel of {x} and track it."]),
        (tool("get_birthplace", "Gets the birthplace of a person.", "person", "The person"), tool("get_tide", "Gets the tide at a place.", "place", "Name of the place"), ["What is the tide at the birthplace of {x}?", "Look up the birthplace of {x}, then get the tide."]),
        (tool("get_printer", "Gets the printer of an office.", "office", "Name of the office"), tool("get_toner", "Gets the toner level of a printer.", "printer", "The printer"), ["How much toner does the printer of {x} have?", "Get the printer of {x} and tell me its toner."]),
        (tool("lookup_supplier", "Looks up the supplier of a part.", "part", "The part"), tool("call_supplier", "Calls a supplier.", "supplier", "The supplier"), ["Call the supplier of {x}.", "Find the supplier of {x} and call it."]),
    ]
    backs = [lambda key, v: v, lambda key, v: json.dumps({key: v}), lambda key, v: json.dumps({"region": "north", key: v, "since": 2019}), lambda key, v: f"It is {v}."]
    out = []
    for i in range(16):
        one, two, asks = kinds[i % 4]
        x = r.choice(NAMES)
        found = [f"P{r.randrange(10**4, 10**5)}", r.choice(CITIES), f"laser-{r.randrange(10, 99)}", r.choice(["Nordvik", "Balint", "Castellan"])][i % 4]
        last = [f"{r.randrange(10, 99)} percent", r.choice(["at the depot", "on its way"]), f"{r.randrange(10, 99)} cm", "no answer"][(i + i // 4) % 4]
        k1, k2 = (next(iter(t["function"]["parameters"]["properties"])) for t in (one, two))
        others = [schema(n) for n in r.sample([n for n in T if n not in ("track_parcel", "get_tide")], 3)]
        out.append(
            {
                "question": asks[i // 4 % 2].format(x=x),
                "tools": r.sample([one, two, *others], 5),
                "calls": [(one["function"]["name"], {k1: x}), (two["function"]["name"], {k2: found})],
                "results": [backs[i // 4](k2, found), last],
                "last": last,
            }
        )
    return out


def read(answer):
    """The call in an answer: (name, arguments), or None where there is none that can be read."""
    m = re.fullmatch(r"\s*<tool_call>\n(.*)\n</tool_call>\s*", answer, re.S)
    try:
        c = json.loads(m.group(1)) if m else None
        return (c["name"], c["arguments"]) if c else ("", answer) if "<tool_call>" in answer else None
    except (ValueError, KeyError, TypeError):
        return "", answer
