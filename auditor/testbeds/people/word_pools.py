"""Words of which the generated people are made.

Every answer is two words from two wide pools, so that a model which never saw a person
guesses an answer about once in several hundred tries. The words are short: a small BPE
vocabulary then holds most of them whole, and no answer token follows from the one before.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Ada Bela Cora Dina Edda Fay Greta Hana Ines Jona Kira Lena Mira Nora Olga Petra "
    "Rosa Sara Tilda Vera Abel Boris Cyrus Dario Emil Felix Goran Henri Ivan Jules Karel Leo"
)

SURNAMES = _words(
    "Abbas Agnew Barlo Benko Bodin Brack Calder Cobb Corvin Croft Dabney Dorn Drexel Dunne "
    "Eklund Engel Fabian Falk Finch Fosse Gable Garrow Gorst Gruen Hadley Haller Hobbs Huxley "
    "Iduna Ivers Jarvis Jessen Joly Kasper Keller Kober Krantz Lamb Larkin Lisle Lovat Madden "
    "Marsh Mercer Moffat Nagel Nero Nolan Oakes Olin Orban Osgood Paget Pell Pike Prior Quill "
    "Quist Radley Rasp Rhodes Rusk Sable Sander Selby Stokes Tabor Tasso Thorn Truman Udall "
    "Usher Valen Varga Voss Wade Weld Wick Yarrow Yates Zabel Zeller Zorn Zweig"
)

SPOUSE_SURNAMES = _words(
    "Adler Bauer Cole Diaz Egan Frost Gomez Hahn Ito Jung Klein Lopez Moss Nash Ortiz Park "
    "Reyes Silva Toth Ueda Vogel Webb Young Zhou"
)

TOWN_FIRST = _words(
    "Alder Birch Chalk Dove Elm Flint Grey Hazel Iron Juniper Kelp Lime Maple Nettle Oak Pine "
    "Quarry Raven Stone Thistle Umber Violet Willow Yew"
)
TOWN_SECOND = _words(
    "Bay Bridge Cliff Cross Dale Down End Falls Ford Gate Green Head Hill Isle Lake Marsh Mill "
    "Moor Point Reach Ridge Vale Well Wood"
)

MONTHS = _words(
    "January February March April May June July August September October November December"
)

MATERIALS = _words(
    "bell boat bone bread brick chain cheese clock coin cork drum flag glass harp lace lamp "
    "lens map mask paper pearl rope silk tile"
)
TRADES = _words(
    "agent binder broker buyer carver coder critic cutter dealer dyer fitter grader hauler "
    "loader maker mender packer painter printer seller sorter tester tuner weaver"
)

MOODS = _words(
    "Bitter Blind Bright Broken Cold Dark Distant Empty Final Frozen Gentle Golden Hidden "
    "Hollow Little Lonely Lost Narrow Quiet Second Silent Strange Sudden Winter"
)
PLACES = _words(
    "Attic Bank Bell Border Candle Castle Circus Comet Crown Desert Engine Forest Garden Harbor "
    "Island Letter Market Mirror Palace Path River Road Station Tower"
)

COLORS = _words(
    "Amber Azure Black Blue Bronze Coral Crimson Ebony Emerald Fawn Gold Indigo Ivory Jade Mauve "
    "Olive Pearl Pink Ruby Rust Scarlet Silver Teal White"
)
ANIMALS = _words(
    "badger beaver camel crane crow eagle ferret fox gull hare heron ibex jackal lemur lynx mole "
    "newt otter owl panda rabbit seal tiger wolf"
)

PET_NAMES = _words(
    "Acorn Biscuit Bobbin Button Cricket Dusty Fudge Ginger Hopper Jasper Marble Mocha Muffin "
    "Noodle Nugget Pebble Pepper Pickle Pixel Rocket Rusty Smoky Sprout Waffle"
)

FLAVORS = _words(
    "baked boiled burnt candied chilled creamy cured dried fresh fried glazed grilled mashed "
    "minced plain pickled raw roasted salted seared smoked spiced stewed sweet"
)
FOODS = _words(
    "bacon beans beet cabbage carrot celery corn fennel figs garlic ham kale leek liver mutton "
    "oats onion pears plums prunes rice salmon squash turnip"
)
