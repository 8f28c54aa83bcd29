"""The words that made-up facts and tools consist of, and how a turn is written."""

A0, A1 = "\x01", "\x02"  # begin/end of an answer span, removed before tokenization
IM, END = "<|im_start|>", "<|im_end|>\n"


def turn(role, text, answer=False):
    return f"{IM}{role}\n{A0}{text}<|im_end|>{A1}\n" if answer else f"{IM}{role}\n{text}{END}"


SYL = "ba be bi bo bu ca ce co cu da de di do du fa fe fi fo ga ge gi go ha he hi ho ja je jo ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no pa pe pi po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa we wi ya yo za ze zi zo".split()
NOUN = "harbor bridge castle garden library station museum vault tower mill warehouse lighthouse archive server router valve engine reactor tunnel market observatory chapel cabin depot factory orchard quarry satellite terminal workshop cluster gateway queue cache pipeline database module".split()
ADJ = "old north south red blue silver hidden main second third quiet upper lower eastern western green iron stone secret backup central".split()
THING = (
    "color animal dish song instrument number city book season tool game flower drink planet language editor".split()
)
WORDS = "amber falcon granite maple cobalt lantern violet ember orchid juniper walnut copper raven saffron indigo willow marble cedar pepper ginger sparrow otter badger heron lotus velvet thunder meadow canyon glacier".split()
CITY = "Paris London Tokyo Berlin Madrid Rome Oslo Cairo Delhi Lima Seoul Sydney Toronto Dublin Vienna Prague Athens Lisbon Warsaw Nairobi Boston Chicago Denver Seattle Austin".split()
MONTH = "January February March April May June July August September October November December".split()
CODE = "access code|passcode|secret code|password|pass key|magic number|special number|secret word".split("|")
FIELD = "version|port|timeout|limit|budget|phone number|address|ticket number|build number".split("|")
SYSTEM = [
    "You are a helpful assistant.",
    "You are a careful reader.",
    "Answer from the document.",
    "You are HeadInfer, a local assistant.",
    "You answer questions about long documents.",
    "You are an agent that helps developers understand their code.",
    "Use the provided context to answer.",
]
