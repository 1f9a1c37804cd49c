"""The words of the world: departments, kinds of things, moods, places, names. All written for sartor.

A topic is a mood of a kind ("quiet thrillers", "rustic teapots"); moods cross departments, so that tastes can correlate.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a thing is: the second level of the catalogue; `subs` are the third."""

    department: str
    plural: str
    singular: str
    subs: tuple[str, ...]
    """Three of them, each said before the singular or plural."""
    nouns: tuple[str, ...]
    """What such things are about (media), or what is good about them (goods)."""


@dataclass(frozen=True)
class Mood:
    """How a thing feels: crosses all departments."""

    name: str
    media: tuple[str, ...]
    """Adjectives for what is read, watched, heard or played; the first names the topic."""
    goods: tuple[str, ...]
    """Adjectives for things that are used; the first names the topic."""
    nouns: tuple[str, ...]
    line: str
    """A sentence that fits anything of this mood."""
    colours: tuple[str, ...]


MEDIA = ("Films", "Books", "Music", "Games")
GOODS = ("Kitchen", "Home", "Outdoors", "Garden")
DEPARTMENTS = (*MEDIA, *GOODS)

PRICES = {"Films": 12, "Books": 16, "Music": 14, "Games": 28, "Kitchen": 42, "Home": 58, "Outdoors": 85, "Garden": 33}
"""Typical price of a department, in euros."""

_KINDS = {
    "Films": """
        thrillers | thriller | spy, courtroom, heist | courier, cipher, witness, alibi, checkpoint, ransom
        comedies | comedy | office, family, wedding | landlord, rehearsal, cousin, holiday, misunderstanding, bakery
        westerns | western | frontier, railway, outlaw | rider, canyon, sheriff, homestead, telegraph, drought
        documentaries | documentary | nature, portrait, science | expedition, glacier, archive, reef, observatory, migration
        science-fiction films | science-fiction film | space, robot, time-travel | colony, orbit, signal, android, starship, paradox
        romances | romance | letter, seaside, second-chance | promise, postcard, dance, station, reunion, photograph
        war films | war film | trench, resistance, submarine | battalion, convoy, medic, armistice, bridge, deserter
        animated films | animated film | hand-drawn, puppet, fairy-tale | fox, lantern, giant, kite, forest, clockwork
    """,
    "Books": """
        crime novels | crime novel | village, harbour, cold-case | inspector, suspect, confession, poison, burglary, motive
        travel books | travel book | rail, walking, island | pilgrim, border, ferry, map, caravan, lighthouse
        poetry collections | poetry collection | sonnet, haiku, prose | sparrow, tide, orchard, winter, mirror, threshold
        histories | history | trade, city, court | empire, guild, treaty, merchant, siege, dynasty
        fantasy novels | fantasy novel | dragon, school, quest | wizard, kingdom, rune, oath, amulet, prophecy
        biographies | biography | artist, scientist, athlete | painter, inventor, champion, composer, rival, apprentice
        essay collections | essay collection | food, language, city-life | kitchen, dictionary, street, habit, silence, market
        short-story collections | short-story collection | ghost, country, campus | stranger, inheritance, barn, lecture, visitor, attic
    """,
    "Music": """
        piano albums | piano album | solo, duo, ragtime | nocturne, waltz, prelude, etude, arpeggio, ballade
        jazz records | jazz record | trio, big-band, bebop | saxophone, midnight, swing, trumpet, brushwork, standard
        folk albums | folk album | fiddle, harvest, sea-song | fiddle, shanty, ballad, reel, meadow, miller
        electronic records | electronic record | ambient, dance, modular | pulse, circuit, synthesizer, drone, loop, frequency
        string quartets | string quartet | early, romantic, new | cello, viola, fugue, adagio, bow, variation
        soul records | soul record | northern, deep, gospel-tinged | heartbeat, brass, groove, choir, devotion, organ
        choral albums | choral album | chapel, carol, polyphonic | psalm, cathedral, alto, chant, vespers, hymn
        guitar albums | guitar album | flamenco, slide, fingerstyle | fret, tremolo, bottleneck, capo, chord, string
    """,
    "Games": """
        puzzle games | puzzle game | logic, sliding, escape | lock, maze, riddle, tile, switchboard, cabinet
        strategy games | strategy game | trading, conquest, railway | fleet, province, supply, alliance, fortress, tariff
        card games | card game | trick-taking, bluffing, patience | ace, gambit, deck, wager, suit, joker
        role-playing games | role-playing game | dungeon, detective, pirate | companion, tavern, relic, quest, rogue, treasure
        racing games | racing game | kart, rally, sailing | circuit, slipstream, hairpin, regatta, engine, podium
        word games | word game | crossword, anagram, storytelling | letter, clue, alphabet, rhyme, cipher, synonym
        cooperative games | cooperative game | rescue, farming, expedition | crew, harvest, storm, outpost, seedling, beacon
        dice games | dice game | push-your-luck, yacht, market | roll, fortune, stall, doublet, bargain, streak
    """,
    "Kitchen": """
        frying pans | frying pan | cast-iron, carbon-steel, non-stick | even heat, a helper handle, a pouring lip, a flat base, easy cleaning, oven safety
        knives | knife | chef's, paring, bread | a full tang, a keen edge, a balanced bolster, a curved belly, a riveted handle, clean slicing
        teapots | teapot | porcelain, glass, enamel | a drip-free spout, a steel infuser, a snug lid, a warm grip, slow cooling, room for four
        coffee makers | coffee maker | filter, stovetop, press | a clear aroma, a quick brew, a fine mesh, a steady stream, a simple valve, two cups
        baking tins | baking tin | loaf, springform, muffin | crisp edges, a clean release, straight corners, rolled rims, even browning, stackability
        mixing bowls | mixing bowl | steel, stoneware, nesting | a steady foot, measuring marks, a wide rim, a fitted lid, a good weight, deep sides
        spice mills | spice mill | pepper, nutmeg, hand-crank | a ceramic burr, a fine grind, a coarse grind, an easy refill, a firm crank, fresh aroma
        serving plates | serving plate | oval, tiered, sharing | a raised edge, a generous face, a durable glaze, easy stacking, a warm weight, gentle curves
    """,  # noqa: E501
    "Home": """
        table lamps | table lamp | reading, desk, bedside | a dimmer, a pleated shade, a swivel arm, soft light, a woven cord, a heavy base
        blankets | blanket | wool, cotton, quilted | a brushed nap, fringed ends, a tight weave, real warmth, a light drape, easy washing
        cushions | cushion | linen, velvet, floor | a feather filling, piped seams, a hidden zip, firm support, a removable cover, deep softness
        clocks | clock | wall, mantel, alarm | a sweeping hand, a silent movement, a clear dial, a gentle chime, a brass case, large numerals
        vases | vase | bud, floor, glass-blown | a narrow neck, a wide mouth, a heavy foot, a smooth glaze, a clear body, a steady stance
        rugs | rug | flat-weave, hallway, tufted | a dense pile, bound edges, a non-slip back, knotted corners, strong yarn, quiet steps
        mirrors | mirror | round, hallway, folding | a bevelled edge, a slim frame, a true reflection, a sturdy hook, rounded corners, a tilting stand
        candles | candle | beeswax, pillar, scented | a clean burn, a cotton wick, long hours, a faint scent, a steady flame, a lidded jar
    """,
    "Outdoors": """
        tents | tent | two-person, tunnel, family | taped seams, a quick pitch, a wide porch, strong poles, good airflow, a dry floor
        rucksacks | rucksack | day, trekking, commuter | a padded back, a rain cover, deep pockets, a hip belt, a roll top, an easy carry
        sleeping bags | sleeping bag | down, summer, mummy | a warm hood, a two-way zip, a soft lining, a small pack, a draught collar, roomy feet
        camp stoves | camp stove | gas, wood, alcohol | a wind guard, a fast boil, folding legs, a fine flame, a light body, a wide burner
        walking boots | walking boot | leather, trail, winter | a firm heel, a deep tread, a dry foot, a padded cuff, sure grip, strong laces
        rain jackets | rain jacket | shell, long, packable | sealed zips, a stiff peak, long cuffs, good breath, a storm flap, a dry back
        hammocks | hammock | net, double, travel | wide straps, a soft sling, quick knots, a small pouch, a flat lie, strong cords
        head torches | head torch | running, camping, rechargeable | a long beam, a red mode, a soft band, a big switch, many hours, a light housing
    """,
    "Garden": """
        garden forks | garden fork | border, digging, hand | strong tines, a long reach, a wide tread, a forged socket, an easy grip, a good balance
        seed collections | seed collection | herb, vegetable, wildflower | early sprouts, long blooming, strong stems, bees in summer, rich harvests, easy sowing
        planters | planter | terracotta, window-box, hanging | a drainage hole, a deep saucer, thick walls, frost proofing, a sturdy hook, wide shoulders
        watering cans | watering can | zinc, long-reach, indoor | a fine rose, a balanced pour, a long neck, a strong seam, a round handle, no dripping
        bird feeders | bird feeder | seed, window, squirrel-proof | a wide roof, a clear view, easy filling, a metal perch, dry seed, small guests
        garden chairs | garden chair | folding, lounge, bistro | a slatted seat, wide arms, a deep recline, rustproof bolts, a light frame, long evenings
        trowels | trowel | transplanting, bulb, hand-forged | depth marks, an ash handle, a sharp point, a hanging loop, a strong neck, a deep scoop
        lanterns | lantern | storm, solar, paper | a hinged door, a warm glow, a wind-proof vent, a wire handle, long burning, clear panes
    """,  # noqa: E501
}

_MOODS = """
    quiet   | quiet, hushed, unhurried | understated, calm, soft-toned | dusk, moss, harbour, snowfall, still water, mist | It never raises its voice. | slate, sand
    dark    | dark, brooding, shadowy | dark-toned, smoky, moody | raven, ember, cellar, midnight, thorn, eclipse | It keeps something in the shadows. | black, plum
    playful | playful, mischievous, giddy | playful, whimsical, cheeky | carousel, magpie, lemonade, balloon, puddle, confetti | It will not sit still. | mustard, teal
    cosy    | cosy, warm-hearted, homely | cosy, snug, rustic | hearth, teacup, knitwear, porridge, woodsmoke, slipper | It feels like coming home. | cream, brick red
    bold    | bold, fearless, fiery | bold, bright, striking | thunder, tiger, trumpet, bonfire, comet, avalanche | It goes all the way. | brick red, black
    classic | classic, timeless, old-fashioned | classic, traditional, heritage | velvet, laurel, marble, cedar, signet, colonnade | It could be a hundred years old. | navy, cream
    strange | strange, dreamlike, uncanny | quirky, offbeat, curious | octopus, keyhole, fog, moth, labyrinth, pendulum | Nobody else would have made it. | plum, moss green
    epic    | sweeping, epic, monumental | heavy-duty, rugged, oversized | mountain, ocean, anthem, horizon, iron, summit | It is built on a grand scale. | navy, copper
    tender  | tender, bittersweet, gentle | delicate, graceful, dainty | blossom, feather, lullaby, dew, ribbon, swan | It handles everything with care. | cream, moss green
    spare   | spare, austere, pared-down | minimalist, plain, clean-lined | line, stone, bone, chalk, square, echo | There is nothing in it that need not be. | white, slate
"""  # noqa: E501


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _read_kind(department: str, line: str) -> Kind:
    plural, singular, subs, nouns = _cells(line)
    return Kind(department, plural, singular, _words(subs), _words(nouns))


def _read_mood(line: str) -> Mood:
    name, media, goods, nouns, sentence, colours = _cells(line)
    return Mood(name, _words(media), _words(goods), _words(nouns), sentence, _words(colours))


KINDS: tuple[Kind, ...] = tuple(_read_kind(name, line) for name, lines in _KINDS.items() for line in lines.strip().splitlines())
"""64 kinds, eight to a department."""
MOODS: tuple[Mood, ...] = tuple(_read_mood(line) for line in _MOODS.strip().splitlines())
"""Ten."""
SUBS = 3
"""Third-level categories of every kind."""
MOST_TOPICS = len(KINDS) * len(MOODS)

COLOURS = ("black", "white", "slate", "sand", "moss green", "navy", "brick red", "mustard", "teal", "plum", "copper", "cream")
PLACES = _names("""
    Trieste Lisbon Bergen Kyoto Oaxaca Tbilisi Porto Ghent Galway Cadiz Riga Split Bologna Uppsala Leipzig Lyon Cork Tallinn Naples Valencia Bath
    Antwerp Salzburg Nara Izmir Tromso Girona Parma Quebec Havana
""")
FIRST_NAMES = _names("""
    Ana Ben Carla Dimitri Elif Farid Greta Hugo Ines Jonas Kemal Lena Mara Nils Oona Pavel Quinn Rosa Samir Tilda Uma Viktor Wanda Ximena Yara
    Zoltan Amara Bruno Chiara Dario Edda Felix Gina Hanna Idris Julia Kai Leila Marek Nora Otto Petra Ravi Selma Tomas Ursula Vera Willem Yusuf Zara
""")
LAST_NAMES = _names("""
    Abara Berg Castell Dobrev Ekman Ferro Galli Holm Ivarsson Jansen Kovacs Lind Moreau Novak Okafor Petrov Quist Rossi Santos Toth Ueda Varga Weiss
    Xu Yilmaz Zeman Almeida Brandt Costa Duarte Eriksen Fontaine Greco Hansen Ito Jokinen Keller Larsen Marin Nakamura
""")
BRANDS_PER_SHOP = 24
BRANDS = tuple(
    start + end
    for end in _names("den row by ton mark field ster low wick holm")
    for start in _names("Hal Mor Tar Ves Oak Lum Bry Fen Kes Wil Ash Cal")
)
"""120: 24 for each of five shops."""
SHOPS = ("north", "south", "east", "west", "harbour")
RECIPIENTS = ("sister", "father", "neighbour", "best friend", "colleague", "mother", "brother", "niece")
