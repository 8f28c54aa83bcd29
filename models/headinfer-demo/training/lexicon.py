"""Verbs and nouns of the training texts, found by the forms that stand there."""
import collections, random, re

STOP = set(
    "the and for that this with from are was were will not but have has had his her their its our you your they them who what which when where how why all any each some such than then there these those into upon unto shall should would could may might must can out over under only also other more most very here just like about after before again because been being both did does doing down during few further once own same so too until while yes one two three four five six seven eight nine ten".split()
)
EVERYDAY = "train taxi bus hotel table menu grocery coupon voucher guest visitor neighbor doctor dentist nurse clinic pill medicine gym lesson teacher pupil exam grade school museum exhibit concert ticket seat film movie show series episode podcast radio station channel remote heater oven fridge kettle toaster blind curtain shutter fan vacuum mower sprinkler hose garage driveway fence mailbox letter postcard stamp envelope package box crate pallet truck van driver route detour toll fuel charger plug socket switch bulb ceiling carpet shelf drawer wardrobe jacket shirt shoe glove scarf ring necklace watch clock stopwatch calendar reminder note notebook pencil eraser stapler scanner copier projector screen laptop keyboard mouse headset speaker microphone camera lens tripod photo album frame poster banner flyer brochure leaflet catalog inventory stock crop field tractor barn stable horse cow goat sheep hen egg milk cheese bread cake cookie soup salad pizza pasta sauce spice salt sugar tea coffee juice wine beer bottle glass cup plate fork spoon knife pan pot lid stove".split()
DOING = "order rent borrow lend return buy sell pay refund deliver collect pack unpack wrap weigh measure mix bake fry boil cool heat warm dry wash iron fold sew cut glue paint polish sweep mop dust tidy sort count label tag stamp sign seal mail call dial text greet invite visit host feed groom walk train teach grade coach score judge rank rate review praise warn alert remind mute boost charge drain fill empty pour stir shake press push pull lift drop tilt rotate flip mirror crop blur sharpen zoom record replay rewind skip shuffle stream upload sync backup restore mount eject scan copy paste merge split trim join".split()
PREPOSITION = "in at for with from on to by near under over".split()


def third(verb):
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "s"


def past(verb):
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "ed"


def lexicon(docs, most=20_000_000):
    """(verbs, nouns, adjectives): words of three to eleven letters that stand there in several forms."""
    seen, after, got = collections.Counter(), collections.Counter(), 0
    for d in random.Random(0).sample(docs, len(docs)):
        d = d[:60_000].lower()
        w = re.findall(r"[a-z]+", d)
        seen.update(w)
        after.update(b for a, b in zip(w, w[1:]) if a in ("the", "a", "an"))
        got += len(d)
        if got > most:
            break
    fits = lambda w: 3 <= len(w) <= 11 and w not in STOP
    ing = lambda w: w[:-1] + "ing" if w.endswith("e") and not w.endswith("ee") else w + "ing"
    verbs = [w for w, n in seen.items() if n > 3 and fits(w) and seen[past(w)] > 1 and seen[ing(w)] > 1 and seen[third(w)] > 0]
    known = set(verbs)
    nouns = [w for w, n in seen.items() if n > 5 and fits(w) and after[w] > 3 and seen[w + "s"] > 0 and not w.endswith(("ed", "ing", "ly", "ss"))]
    adjectives = [w for w, n in seen.items() if n > 3 and fits(w) and w not in known and after[w] > 0 and not seen[w + "s"] and (w.endswith(("ful", "ous", "ive", "able", "ant", "ent", "ish", "ic", "al")) or seen[w + "er"] and seen[w + "ly"])]
    return sorted({*verbs, *DOING}), sorted({*nouns, *EVERYDAY}), sorted(adjectives)
