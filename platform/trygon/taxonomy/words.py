"""The words that make a text no name, or not one of a species. Tables only; how they are used is another module's.

Each was looked up among the names of iNaturalist's taxonomy, and what is said here of real names is said of those.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNKNOWN = _words("""
    unknown unidentified unclassified unassigned unplaced undetermined unspecified undefined unnamed uncultured
    undescribed undet unident unid unk unkn ambiguous anonymous provisional placeholder tbd cryptic morphospecies
    morphotype isolate isolates voucher vouchers specimen specimens otu
    pleasehelp environmental none null nan na n/a not incertae sedis indet other others missing mixed various
""")
"""A name with one of these words says that it is not known. No name has one but *nan*, which tables write for
nothing."""

COMMON = _words("""
    mammal animal insect spider bee wasp ant beetle moth butterfly fly bug cricket grasshopper cockroach termite
    aphid damselfly dragonfly worm snail crab lobster shrimp prawn crayfish mussel clam squid jellyfish coral sponge
    fishes shark ray seahorse eel herring trout bass snake lizard turtle tortoise crocodile frog toad newt bird duck
    goose swan eagle hawk owl pigeon dove crow sparrow finch warbler thrush swallow kingfisher woodpecker hummingbird
    heron gull wren rat mouse squirrel rabbit hare deer cat dog wolf lion tiger bear whale dolphin seal monkey ape
    horse sheep goat cow tree shrub herb flower plant fern moss mosses seaweed mushroom bacterium proteobacterium
    archaeon yeast viroid phage symbiont endophyte clone strain nymph egg adult male female of with from associated
""")
"""Words of common names. No name has one: a text with one of them is no scientific name."""

_NOUNS = _words("""
    fox jay robin urchin star starfish retriever terrier hound shepherd spaniel collie bat elephant mongoose
    antelope gazelle buffalo ox cattle donkey mule pig boar hog giraffe camel wallaby koala possum raccoon skunk badger
    otter weasel ferret marten bobcat cougar leopard cheetah jackal walrus manatee porpoise porcupine hedgehog
    shrew vole hamster gerbil chipmunk beaver marmot baboon chimpanzee orangutan sloth anteater
    falcon kestrel kite osprey tern stork crane parrot macaw cockatoo parakeet lorikeet cuckoo swift nightjar lark
    pipit wagtail bunting tanager oriole blackbird bluebird grackle starling magpie raven nuthatch tit chickadee
    titmouse flycatcher shrike penguin albatross petrel shearwater cormorant pelican quail pheasant turkey grouse hen
    chicken rail coot loon grebe plover sandpiper snipe hornbill toucan vulture egret bittern booby puffin
    salamander skink viper rattlesnake cod carp catfish perch sturgeon goldfish sunfish goby blenny wrasse parrotfish
    pufferfish grouper snapper minnow slug oyster scallop cuttlefish barnacle krill scorpion tick
    centipede millipede louse flea weevil ladybug ladybird firefly hornet sawfly mosquito midge gnat hoverfly mayfly
    lacewing caddisfly stonefly leafhopper planthopper skipper hawkmoth swallowtail fritillary leech earthworm flatworm
    oak pine maple grass lily rose orchid palm willow birch spruce fir elm ash cedar cypress poplar aspen beech hickory
    walnut chestnut alder dogwood daisy sunflower thistle clover violet tulip poppy buttercup primrose nettle mint
    heather ivy vine berry apple cherry plum pear pea rice corn barley weed kelp liverwort puffball morel
    truffle mold mould rush sedge reed goldenrod hawkweed milkweed bluebell
""")

HEADS = frozenset(
    form for noun in _NOUNS | COMMON for form in (noun, f"{noun}s", f"{noun.removesuffix('y')}ies")
) | _words("mice geese wolves calves deer oxen lice foxes finches thrushes grasses birches ostriches mosquitoes")
"""What the commonest names of two words end in: *Red fox*. Some are epithets of a few species, so that they are heeded
only where the genus is blank and nothing else tells a common name from a binomial. They are far from all there are."""

FIRST_WORDS = _words("""
    american european african asian australian eurasian indian chinese japanese atlantic pacific northern southern
    eastern western red blue green white black golden grey gray brown yellow orange purple pink silver common great
    greater little lesser giant dwarf spotted striped wild domestic
    human humans person people vehicle truck zebra zebras blank empty background larva imago
""")
"""What common names begin with, and labels of camera traps. No genus has such a name."""

ABBREVIATIONS = _words("sp spp ssp cf aff nr")
"""Those that stand even in columns of their own."""

PLACEHOLDERS = ABBREVIATIONS | _words("""
    species spec nov near prope gen genus subsp var forma form forms morph morphs type types
    clade lineage cv agg hybrid hybrids complex group taxon sensu nomen auct auctt auctorum ined new
    indeterminate pupae juvenile juveniles virus x
""")
"""What stands where an epithet would, and is none. Some ten are epithets too, of one or two species each."""

STAGES = _words("larva larvae pupa pupae juvenile juveniles imago instar")
"""Epithets and stages of life: only alone, beside a given genus, are they taken for epithets."""

SPECIMENS = STAGES | _words("male males female females adult adults nymph nymphs egg eggs worker workers queen")
"""What may follow a name and say which specimen it is."""

CANDIDATUS = _words("candidatus ca.")
"""Before the name of a bacterium that nobody has grown; no part of it."""

SEVERAL = _words("complex group grp grp. gr gr. agg agg. aggr. hybrid hybr. or vs vs. / cf cf. aff aff. nr nr. prope")
"""After the epithet: the name is of several species, of a cross, one of two, or one that it is like."""

MISAPPLIED = _words("auct auct. auctt auctt. auctorum")
"""The name as authors used it for another species."""

LINKS = _words(", & + and et or")
"""Between two authors, and between two species."""

NO_SECOND_EPITHET = _words("al alii non nec sensu emend in ex")
"""Small words that follow a comma, and are no species'."""

PARTICLES = _words("de der den van von vom zu zur du la le di da do dos del della des et ex and in f y")
"""Small words that authors' names begin with, or that stand between them."""
