"""Raw names to clean lineages."""

import pytest

from trygon.taxonomy.names import clean_binomial, clean_name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ANIMALIA", "Animalia"),
        ("animalia", "Animalia"),
        ("  <i>Felidae</i> ", "Felidae"),
        ("&lt;i&gt;Felidae&lt;/i&gt;", "Felidae"),
        ("Feli\u00addae\u200b", "Felidae"),
        ("Felidae\u00a0Fischer,\u00a01817", "Felidae"),
        ("Felidae Fischer, 1817", "Felidae"),
        ("Felidae (Fischer, 1817)", "Felidae"),
        ("Araneidae Wolf, 1819", "Araneidae"),
        ("Panthera Oken", "Panthera"),
        ("Rosa L.", "Rosa"),
        ("Rosa Mill. &amp; Smith", "Rosa"),
        ("Mammalia (mammals)", "Mammalia"),
        ("Panthera leo", "Panthera"),
        ("Culicoides sp. 3ES", "Culicoides"),
        ("[Clostridium]", "Clostridium"),
        ("Candidatus Phytoplasma", "Phytoplasma"),
        ("× Cupressocyparis", "Cupressocyparis"),
        ("×Cupressocyparis", "Cupressocyparis"),
        ("Pseudo-nitzschia", "Pseudo-nitzschia"),
        ("Deinococcus-Thermus", "Deinococcus-thermus"),
        ("Ïsoëtes", "Ïsoëtes"),
        ("Iso\u0065\u0308tes", "Isoëtes"),
        ("Phœnicopterus", "Phoenicopterus"),
        ("Io", "Io"),
        # It says that it is not known, or says something else.
        ("unknown", ""),
        ("Unknown Diptera", ""),
        ("(unidentified)", ""),
        ("not_classified", ""),
        ("pleasehelp", ""),
        ("n/a", ""),
        ("NaN", ""),
        ("incertae sedis", ""),
        ("Mucoromycota incertae sedis", ""),
        ("Incertae_sedis", ""),
        ("Mammals", ""),
        ("Giant stick insect", ""),
        ("Giant Stick Insect", ""),
        ("flowering plants", ""),
        ("Basileuterus × Geothlypis", ""),
        ("Junco x Zonotrichia", ""),
        ("cf. Panthera", ""),
        ("Panthera?", ""),
        ("Panthera ?", ""),
        ("P.", ""),
        ("gen. sp.", ""),
        ("Gen. nov. 3", ""),
        ("BOLD:AAA1234", ""),
        ("Clade1", ""),
        ("†Tyrannosaurus", "Tyrannosaurus"),
        ("Mammuthus†", "Mammuthus"),
        ('"Candidatus Phytoplasma"', "Phytoplasma"),
        ("xCupressocyparis", "Cupressocyparis"),
        # Two names are neither.
        ("Insecta or Arachnida", ""),
        ("Insecta, Arachnida", ""),
        ("Insecta & Arachnida", ""),
        ("Insecta and Arachnida", ""),
        ("Insecta/Arachnida", ""),
        ("Felidae, Fischer 1817", "Felidae"),
        ("Felidae, Fischer & Gray, 1817", "Felidae"),
        # Common names and labels of a single word.
        *(
            (name, "")
            for name in ("Butterflies", "Flies", "Mice", "Geese", "Foxes", "Fox", "Bat", "Elephant", "Zebra")
        ),
        *((name, "") for name in ("Human", "Vehicle", "Blank", "Giant", "Larva", "Hawks", "Red fox", "Voucher")),
        ("Лев", ""),
        ("-", ""),
        ("?", ""),
        ("", ""),
    ],
)
def test_name(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    ("raw", "genus", "epithet"),
    [
        ("Panthera leo", "Panthera", "leo"),
        ("leo", "Panthera", "leo"),
        ("Leo", "Panthera", "leo"),
        ("LEO", "Panthera", "leo"),
        ("PANTHERA LEO", "Panthera", "leo"),
        ("PANTHERA LEO (LINNAEUS, 1758)", "Panthera", "leo"),
        ("panthera leo", "Panthera", "leo"),
        ("Panthera_leo", "Panthera", "leo"),
        ("Panthera\u00a0leo", "Panthera", "leo"),
        ("P. leo", "Panthera", "leo"),
        ("P leo", "Panthera", "leo"),
        ("Ae. aegypti", "Aedes", "aegypti"),
        # Authors.
        ("Panthera leo (Linnaeus, 1758)", "Panthera", "leo"),
        ("Panthera leo(Linnaeus, 1758)", "Panthera", "leo"),
        ("leo (Linnaeus, 1758)", "Panthera", "leo"),
        ("leo Linnaeus 1758", "Panthera", "leo"),
        ("Homo sapiens L.", "Homo", "sapiens"),
        ("Rosa canina Mill. & Smith", "Rosa", "canina"),
        ("Rosa canina Mill. &amp; Smith", "Rosa", "canina"),
        ("Rosa canina de Candolle", "Rosa", "canina"),
        ("Rosa canina van der Hoeven, 1850", "Rosa", "canina"),
        ("Rosa de Candolle", "Rosa", ""),
        ("Rosa van der Hoeven, 1850", "Rosa", ""),
        ("Panthera Oken, 1816", "Panthera", ""),
        ("Panthera (Oken, 1816)", "Panthera", ""),
        # Below the species.
        ("Canis lupus familiaris", "Canis", "lupus"),
        ("lupus familiaris", "Canis", "lupus"),
        ("Canis lupus ssp. dingo", "Canis", "lupus"),
        ("Canis lupus subsp. dingo (Meyer, 1793)", "Canis", "lupus"),
        ("Rosa canina var. alba", "Rosa", "canina"),
        ("Rosa canina f. alba", "Rosa", "canina"),
        ("Rosa canina forma alba", "Rosa", "canina"),
        ("Rosa canina cv. Peace", "Rosa", "canina"),
        ("Rosa canina ‘Peace’", "Rosa", "canina"),
        ("Anopheles gambiae s.l.", "Anopheles", "gambiae"),
        ("Rosa var. alba", "Rosa", ""),
        ("Rosa 'Peace'", "Rosa", ""),
        ("'Peace'", "Rosa", ""),
        # The genus and the subgenus before it.
        ("Vulpes vulpes", "Vulpes", "vulpes"),
        ("vulpes", "Vulpes", "vulpes"),  # TreeOfLife-10M and iNat21 hold the epithet alone
        ("vulpes vulpes", "Vulpes", "vulpes"),
        ("Gorilla gorilla gorilla", "Gorilla", "gorilla"),
        ("leo leo", "Panthera", "leo"),
        ("Vulpes", "Vulpes", ""),
        ("Aedes (Stegomyia) aegypti", "Aedes", "aegypti"),
        ("(Stegomyia) aegypti", "Aedes", "aegypti"),
        ("Rosa subg. Rosa canina", "Rosa", "canina"),
        ("[Clostridium] difficile", "Clostridium", "difficile"),
        ("Candidatus Phytoplasma solani", "Phytoplasma", "solani"),
        ("Felis leo", "Panthera", ""),  # another genus: the binomial contradicts the lineage
        ("T. leo", "Panthera", ""),
        ("Felidae", "Panthera", ""),
        # How epithets are spelled.
        ("Capsella bursa-pastoris", "Capsella", "bursa-pastoris"),
        ("Capsella bursa\u2010pastoris", "Capsella", "bursa-pastoris"),
        ("c-album", "Polygonia", "c-album"),
        ("io", "Aglais", "io"),
        ("d'urvillei", "Maratus", "durvillei"),
        ("<i>Rosa</i> canina", "Rosa", "canina"),
        ("<i>Rosa</i><i>canina</i>L.", "Rosa", "canina"),
        ("Rosa canina<br >L.", "Rosa", "canina"),
        ("Isoetes aloëfolia", "Isoetes", "aloëfolia"),
        # Uncertain, provisional, several.
        ("Canis sp. 1", "Canis", ""),
        ("Canis sp", "Canis", ""),
        ("sp.", "Canis", ""),
        ("sp1", "Canis", ""),
        ("sp. nov.", "Canis", ""),
        ("n. sp.", "Canis", ""),
        ("species", "Canis", ""),
        ("Canis cf. lupus", "Canis", ""),
        ("Canis aff. lupus", "Canis", ""),
        ("Canis nr. lupus", "Canis", ""),
        ("Canis nr lupus", "Canis", ""),
        ("Canis lupus?", "Canis", ""),
        ("Canis lupus ?", "Canis", ""),
        ("? lupus", "Canis", ""),
        ("lupus/latrans", "Canis", ""),
        ("lupus or latrans", "Canis", ""),
        ("Anopheles gambiae complex", "Anopheles", ""),
        ("Colletotrichum orchidearum species complex", "Colletotrichum", ""),
        ("Taraxacum officinale agg.", "Taraxacum", ""),
        ("BOLD:AAA1234", "Culicoides", ""),
        ("sp. BOLD:AAB1234", "Culicoides", ""),
        ("Culicoides sp. 3ES", "Culicoides", ""),
        ("janzen01", "Apanteles", ""),
        ("Apanteles Janzen01", "Apanteles", ""),
        ("LOHAMP", "Astraptes", "lohamp"),  # in capitals, a voucher is no different from an epithet
        ("Astraptes LOHAMP", "Astraptes", ""),
        ("7-punctata", "Coccinella", ""),
        ("unknown", "Canis", ""),
        ("Canis indet.", "Canis", ""),
        *((text, "Culicoides", "") for text in ("undescribed", "undet", "indeterminate", "new", "cryptic species")),
        *((text, "Culicoides", "") for text in ("larvae 2", "pupae", "juvenile", "larva 3", "pupa of something")),
        *((text, "Culicoides", "") for text in ("morphospecies A", "morph 1", "morphotype", "form a", "type 2")),
        *((text, "Culicoides", "") for text in ("lineage 2", "clade B", "isolate 23", "voucher", "genus", "hybrids")),
        *((text, "Culicoides", "") for text in ("sensu lato", "nomen nudum", "auct.", "prope impunctatus")),
        ("Drosophila new species", "Drosophila", ""),
        ("Drosophila nomen nudum", "Drosophila", ""),
        # What makes it uncertain may stand behind it.
        *(
            (f"impunctatus {rest}", "Culicoides", "")
            for rest in ("cf.", "aff.", "(?)", "?", "Goetghebuer (?)", "or so")
        ),
        *(
            (f"obsoletus{rest}", "Culicoides", "")
            for rest in (" & scoticus", " and scoticus", ", scoticus", " + scoticus")
        ),
        ("obsoletus Meigen & scoticus Downes", "Culicoides", ""),
        ("Culicoides obsoletus, scoticus or chiopterus", "Culicoides", ""),
        ("impunctatus-group", "Culicoides", ""),
        ("impunctatus gr.", "Culicoides", ""),
        ("lucorum-complex", "Bombus", ""),
        ("Bombus lucorum-complex Linnaeus", "Bombus", ""),
        # Of a misapplied name nobody knows what was before the author.
        ("Ficus benjamina auct.", "Ficus", ""),
        ("Citrus sinensis auct. non (L.) Osbeck", "Citrus", ""),
        ("Rosa canina auctt.", "Rosa", ""),
        # Real epithets of a few species, which mostly say something else.
        ("larva", "Agyneta", "larva"),
        ("Agyneta larva", "Agyneta", "larva"),
        ("larvae", "Paenibacillus", "larvae"),
        ("pupa", "Puperita", "pupa"),
        ("imago", "Eurytoma", "imago"),
        # What follows is no second species.
        ("Apis mellifera female", "Apis", "mellifera"),
        ("Apis mellifera, adult", "Apis", "mellifera"),
        ("Apis mellifera Linnaeus, larva", "Apis", "mellifera"),
        ("Apis mellifera sensu lato", "Apis", "mellifera"),
        ("Rosa canina L., nom. cons.", "Rosa", "canina"),
        ("Rosa canina Smith et al., 1900", "Rosa", "canina"),
        ("Rosa canina Smith & de Candolle", "Rosa", "canina"),
        # Names as they are decorated.
        ("†Tyrannosaurus rex", "Tyrannosaurus", "rex"),
        ("Mammuthus primigenius†", "Mammuthus", "primigenius"),
        ('"Candidatus Liberibacter asiaticus"', "Liberibacter", "asiaticus"),
        ('"Candidatus Liberibacter" asiaticus', "Liberibacter", "asiaticus"),
        ("Isoëtes lacustris", "Isoetes", "lacustris"),
        ("Isoetes lacustris", "Isoëtes", "lacustris"),
        ("xCupressocyparis leylandii", "Cupressocyparis", "leylandii"),
        ("Bombus (Pyrobombus) impatiens", "Pyrobombus", "impatiens"),
        ("Bombus (Bombus) impatiens", "Pyrobombus", ""),
        ("Apis Mellifera", "Apis", ""),  # after a genus, a capital is its author's, as in Panthera Oken
        # No scientific name.
        ("Red fox", "Vulpes", ""),
        ("stick insect", "Phasma", ""),
        ("Tobacco mosaic virus", "Tobamovirus", ""),
        ("virus TH54", "Escherichia", ""),
    ],
)
def test_epithet(raw: str, genus: str, epithet: str) -> None:
    assert clean_binomial(raw, genus)[1] == epithet


@pytest.mark.parametrize(
    ("raw", "kingdom", "epithet"),
    [
        ("Quercus × rosacea", "Plantae", "rosacea"),
        ("Quercus ×rosacea", "Plantae", "rosacea"),
        ("Quercus x rosacea Bechst.", "Plantae", "rosacea"),
        ("Quercus &times; rosacea", "Plantae", "rosacea"),
        ("Quercus &amp;times; rosacea", "Plantae", "rosacea"),
        ("× rosacea", "Plantae", "rosacea"),
        # The zoological code names no hybrids, and without a kingdom the rule is not known.
        ("Quercus × rosacea", "Animalia", ""),
        ("Quercus × rosacea", "", ""),
        # Formulas.
        ("Quercus robur × petraea", "Plantae", ""),
        ("Quercus robur × Quercus petraea", "Plantae", ""),
        ("Quercus robur L. x Q. petraea (Matt.) Liebl.", "Plantae", ""),
        ("robur X petraea", "Plantae", ""),
        ("Quercus × rosacea × petraea", "Plantae", ""),
        ("Quercus robur hybrid", "Plantae", ""),
        ("Quercus ×", "Plantae", ""),
    ],
)
def test_named_hybrids_of_plants_are_species_and_formulas_are_none(raw: str, kingdom: str, epithet: str) -> None:
    assert clean_binomial(raw, "Quercus", kingdom)[1] == epithet
