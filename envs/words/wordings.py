"""How people say what is to be done in each task: the words that are understood, and the ways to say it otherwise.

Tables only: :mod:`workbench.envs.words.grounding` reads the first part of each, the faults of the language channel the
second.  Some of the ways to say it otherwise use words that are not understood, as people do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Thing:
    """What an instruction may speak of.

    Attributes
    ----------
    nouns : what it is called, in one or several words.
    adjectives : which it is, among those of the same noun.
    """

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Wording:
    """The words of a task; equal to itself alone.

    Attributes
    ----------
    verbs : what is to be done, in one or several words.
    things : name -> what it is called.
    meanings : goal -> (thing that is handled, thing that it is brought to or None).
    verbs_of : goal -> those of the verbs that can mean it, where goals differ by what is done; none where any can.
    fillers : words and phrases that change nothing here, beside :data:`FILLERS`.
    paraphrases : the task's own goal in other words.
    properties : its things told by what they are like.
    places : its things told by where they are; {object} and {target} are filled in by the task's ``whereabouts``.
    present_nouns, absent_nouns : the instruction with a noun exchanged for one of something that is in the scene, or
        that is not; none of them means a goal.
    other_verbs : the instruction with its verb exchanged; none of them means a goal.
    ambiguous : what leaves open which thing is meant; none of them means a goal.
    """

    verbs: tuple[str, ...]
    things: Mapping[str, Thing]
    meanings: Mapping[str, tuple[str, str | None]]
    paraphrases: tuple[str, ...]
    properties: tuple[str, ...]
    places: tuple[str, ...]
    present_nouns: tuple[str, ...]
    absent_nouns: tuple[str, ...]
    other_verbs: tuple[str, ...]
    ambiguous: tuple[str, ...]
    fillers: tuple[str, ...] = ()
    verbs_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


TO = ("on", "onto", "on top of", "upon", "atop", "over", "into", "in", "inside", "to", "at", "with")
"""Words before what something is brought to."""
BENEATH = ("under", "below", "beneath", "underneath")
"""Words that turn the two round: what is brought to is named first."""
TAKING = ("take", "pick up", "grasp", "grab", "get", "fetch")
"""Verbs that any goal begins with, and that alone say none."""
FILLERS = (
    *("a", "an", "the", "this", "that", "which", "is", "of", "and", "then", "so", "it", "its", "up", "down"),
    *("please", "kindly", "just", "now", "could you", "can you", "would you", "robot", "i want you to", "goes"),
)
NOT_MISSPELT = (
    *("plate", "bowl", "ball", "mug", "blue", "yellow", "close", "lower", "drop", "pull", "turn", "leave", "table"),
    *("throw", "tip", "touch", "window", "drawer", "bottle", "bread", "mail", "ring", "screw", "bolt", "socket"),
    *("basket", "shelf", "hide", "hit", "kick", "wipe", "rotate", "slide", "knock", "cover", "remove", "disc", "not"),
    *("robot", "wall", "floor", "arm", "lid", "slot", "board", "letter", "line", "circle", "never", "one", "both"),
    *("them", "these", "those", "some", "any", "what", "he", "she", "me", "there", "other", "another", "two", "no"),
)
"""Words that are near to one that is understood, or may be, but that people write when they mean them."""
_PUT = ("put", "place", "set", "stack", "lay", "move", "bring", "carry", "deposit")
_CUBE = ("cube", "block", "box", "brick", "one")
_RED = ("red", "crimson", "scarlet", "ruby")
_GREEN = ("green", "emerald", "lime")
_BLUE = ("blue", "azure", "navy")
_RAISE = ("lift", "raise", "hoist", "elevate", "pick up", "hold up")

LIFT = Wording(
    verbs=(*_RAISE, "hold it up"),
    things={"cube": Thing((*_CUBE, "object", "thing", "thing with six faces"), (*_RED, "small"))},
    meanings={"lift": ("cube", None)},
    fillers=("off the table", "from the table", "in front of you", "in the middle of the table", "high", "above"),
    paraphrases=(
        "pick up the red block",
        "raise the crimson cube off the table",
        "please hoist the scarlet box",
        "could you take the red cube and hold it up",
        "get that little red cube into the air",
        "the red cube should leave the table top",
    ),
    properties=(
        "lift the thing with six faces",
        "pick up the small object",
        "raise whatever has the colour of a ripe tomato",
        "hold up what you could roll like dice",
    ),
    places=(
        "lift the thing in front of you",
        "raise the object in the middle of the table",
        "pick up what lies nearest to the table's centre",
    ),
    present_nouns=("lift the table", "lift the robot", "lift the floor"),
    absent_nouns=("lift the red ball", "lift the blue mug", "lift the bottle"),
    other_verbs=("push the red cube", "lower the red cube", "rotate the red cube", "touch the red cube"),
    ambiguous=("lift it", "lift one of them", "do it again", "up"),
)

STACK = Wording(
    verbs=_PUT,
    things={
        "a": Thing(_CUBE, (*_RED, "smaller", "small", "little")),
        "b": Thing(_CUBE, (*_GREEN, "larger", "bigger", "large", "big")),
    },
    meanings={"red_on_green": ("a", "b"), "green_on_red": ("b", "a")},
    paraphrases=(
        "stack the red block on top of the green one",
        "please set the crimson cube onto the emerald cube",
        "take the red box and lay it on the green box",
        "put the green cube under the red cube",
        "build a tower of two with the red cube as its roof",
        "the green cube wants to wear the red one as a hat",
    ),
    properties=(
        "put the smaller cube on the larger cube",
        "set the little block on top of the big one",
        "put the cube of the colour of blood on the cube of the colour of grass",
        "put the lighter of the two cubes on the heavier one",
    ),
    places=(
        "put the {object} cube on the {target} cube",
        "stack the cube on the {object} side on top of the one on the {target} side",
    ),
    present_nouns=("put the red cube on the table", "put the robot on the green cube", "put the red cube on the floor"),
    absent_nouns=(
        "put the blue cube on the green cube",
        "put the red ball on the green cube",
        "put the red cube on the plate",
    ),
    other_verbs=("push the red cube to the green cube", "knock the red cube over the green cube", "hit the green cube"),
    ambiguous=("put the cube on the cube", "stack them", "put one of them on the other", "put it on top"),
)

PICK_PLACE_CAN = Wording(
    verbs=(*_PUT, "drop off", "store"),
    things={
        "can": Thing(("can", "tin", "soda", "soda can", "coke", "cylinder", "round thing"), ("red", "metal")),
        "far_left": Thing(("its place", "bin", "quarter", "corner", "compartment"), ("far", "left", "back")),
        "near_left": Thing(("cereal's place", "bin", "quarter", "corner", "compartment"), ("near", "front", "left")),
        "far_right": Thing(("bread's place", "bin", "quarter", "corner", "compartment"), ("far", "back", "right")),
        "near_right": Thing(("milk's place", "bin", "quarter", "corner", "compartment"), ("near", "front", "right")),
    },
    meanings={goal: ("can", goal) for goal in ("far_left", "near_left", "far_right", "near_right")},
    fillers=("from the other bin", "that rolls"),
    paraphrases=(
        "place the tin into its place in the bin",
        "please carry the soda can to its place",
        "take the can and set it into the far left corner of the bin",
        "drop off the soda at its place",
        "sort the can to where cans belong",
        "the tin needs to go home",
    ),
    properties=(
        "put the round thing that rolls into its place",
        "place the cylinder at its place",
        "put the drink into its place",
        "put what one can drink from into the place for such things",
    ),
    places=(
        "put the can into the far left quarter of the bin",
        "put the can from the other bin into the left far corner",
        "put what lies on your right into the corner that is farthest on your left",
    ),
    present_nouns=("put the robot into the bin at its place", "put the can on the floor"),
    absent_nouns=("put the bottle into the bin at its place", "put the bowl at its place", "put the can on the shelf"),
    other_verbs=(
        "tip the can into the bin",
        "roll the can to its place",
        "throw away the can",
        "leave the can at its place",
    ),
    ambiguous=("put the can into the bin", "put it there", "put the can into a corner of the bin", "tidy up"),
)

NUT_ASSEMBLY_SQUARE = Wording(
    verbs=(*_PUT, "slip", "fit", "slide"),
    things={
        "nut": Thing(("nut", "piece with a hole", "ring with a handle"), ("square", "angular")),
        "square_peg": Thing(
            ("peg", "pole", "post", "rod", "pin"), ("square", "angular", "left", "on the left", "four-sided")
        ),
        "round_peg": Thing(
            ("peg", "pole", "post", "rod", "pin"), ("round", "circular", "cylindrical", "right", "on the right")
        ),
    },
    meanings={"square_peg": ("nut", "square_peg"), "round_peg": ("nut", "round_peg")},
    paraphrases=(
        "place the nut on the square pole",
        "please slip the square nut onto the angular peg",
        "take the nut and fit it over the square post",
        "thread the square nut along the square peg",
        "the nut belongs around the square peg",
    ),
    properties=(
        "put the piece with a hole over the four-sided peg",
        "put the ring with a handle onto the angular post",
        "put the thing with a hole over the peg that has edges",
        "put what you can grip by a handle over the peg that could not roll",
    ),
    places=(
        "put the nut over the peg on the left",
        "put the nut over the left peg",
        "put what lies on the table over the peg on your left hand",
    ),
    present_nouns=("put the square nut on the table", "put the robot over the square peg"),
    absent_nouns=(
        "put the ring over the square peg",
        "put the bolt over the square peg",
        "put the square nut on the screw",
    ),
    other_verbs=("remove the square nut", "throw the square nut over the square peg", "turn the square nut"),
    ambiguous=("put the nut over the peg", "put the nut over one of the pegs", "put it there", "assemble them"),
)

DOOR = Wording(
    verbs=("open", "pull", "pull open"),
    things={"door": Thing(("door", "gate", "panel", "handle", "door handle", "lever"), ("hinged",))},
    meanings={"door": ("door", None)},
    fillers=("turn", "press", "by", "in front of you", "open"),
    paraphrases=(
        "open the door",
        "please pull the door open by its handle",
        "turn the lever and open the gate",
        "make the doorway free",
        "let the cat through",
    ),
    properties=("open the hinged panel", "pull the hinged thing by what is meant for hands", "open what swings"),
    places=("open the panel in front of you", "pull open the door in front of you", "open what stands before you"),
    present_nouns=("open the table", "open the robot"),
    absent_nouns=("open the window", "open the drawer", "turn the key and open the lid"),
    other_verbs=("close the door", "knock at the door", "lock the door", "leave the door as it is"),
    ambiguous=("open it", "turn this and pull that", "let me in"),
)

PEG_INSERTION = Wording(
    verbs=(*_PUT, "insert", "push", "fit", "slide", "plug", "stick"),
    things={
        "peg": Thing(("peg", "pin", "rod", "bar", "long thing"), ("steel", "red", "square", "long")),
        "hole": Thing(("hole", "opening", "board", "hole in the board"), ("square", "gray", "grey")),
    },
    meanings={"peg_insertion": ("peg", "hole")},
    fillers=("in front of you",),
    paraphrases=(
        "insert the peg into the hole",
        "please fit the pin into the opening",
        "take the rod and push it into the board",
        "plug the opening with the peg",
        "peg meets hole",
    ),
    properties=(
        "put the long thing into the square opening",
        "insert the steel pin into the grey board",
        "put what is shiny and long where there is nothing",
    ),
    places=(
        "put the rod in front of you into the hole in the board",
        "put what stands on the table into the middle of the board",
    ),
    present_nouns=("put the peg on the table", "put the robot into the hole"),
    absent_nouns=("put the screw into the hole", "put the bolt into the hole", "put the peg into the socket"),
    other_verbs=("throw the peg into the hole", "remove the peg", "touch the peg", "rotate the peg"),
    ambiguous=("put it in", "put one thing into the other", "finish this"),
)

PUSH_T = Wording(
    verbs=("push", "move", "slide", "shove", "bring", "align"),
    things={
        "block": Thing(("t", "tee", "block", "piece", "letter"), ("gray", "grey")),
        "outline": Thing(("t", "tee", "outline", "target", "goal", "mark", "drawing"), ("green",)),
    },
    meanings={"push_t": ("block", "outline")},
    paraphrases=(
        "slide the grey tee onto the green one's outline",
        "please move the block onto its target",
        "align the gray piece with the green outline",
        "shove the gray block to the goal",
        "hide the drawing beneath the loose letter",
        "cover green by gray",
    ),
    properties=("push the gray letter onto the drawing", "push what can move onto what cannot"),
    places=("push the block onto the mark", "push the loose one to the lower left of the middle"),
    present_nouns=("push the gray T onto the wall", "push the disc onto the green T"),
    absent_nouns=(
        "push the gray T onto the circle",
        "push the ball onto the green T",
        "push the gray L onto the green L",
    ),
    other_verbs=("lift the gray T onto the green T", "rotate the gray T", "leave the gray T"),
    ambiguous=("push it", "push this onto that", "push something"),
)

_SHOVE = ("push", "slide", "shove", "move")
_LIKE = {"red": "a ripe tomato", "green": "grass", "blue": "the sea"}
_BLOCKS_MEANINGS: Mapping[str, tuple[str, str | None]] = {
    **{f"lift_{colour}": (colour, None) for colour in _LIKE},
    **{f"push_{colour}_left": (colour, "left") for colour in _LIKE},
    "stack_red_on_green": ("red", "green"),
}
_DONE_BY = {"lift": _RAISE, "push": _SHOVE, "stack": ("stack", "put", "place", "set", "lay")}


def _blocks(goal: str, **ways: tuple[str, ...]) -> Wording:
    """The words of Blocks, the same for all of its goals, and the ways to say one of these otherwise."""
    return Wording(
        verbs=tuple(dict.fromkeys(verb for verbs in _DONE_BY.values() for verb in verbs)),
        things={
            "red": Thing(_CUBE, _RED),
            "green": Thing(_CUBE, _GREEN),
            "blue": Thing(_CUBE, _BLUE),
            "left": Thing(("left", "left side", "left hand side")),
        },
        meanings=_BLOCKS_MEANINGS,
        verbs_of={name: _DONE_BY[name.split("_")[0]] for name in _BLOCKS_MEANINGS},
        fillers=("off the table", "from the table", "in front of you", "across the table"),
        present_nouns=tuple(f"{goal.split('_')[0]} the {noun}" for noun in ("table", "robot", "floor")),
        ambiguous=(f"{goal.split('_')[0]} one of them", f"{goal.split('_')[0]} it", "do it again", "take a cube"),
        **ways,
    )


def _lift_block(colour: str) -> Wording:
    word = {"red": "crimson", "green": "emerald", "blue": "azure"}[colour]
    return _blocks(
        f"lift_{colour}",
        paraphrases=(
            f"pick up the {colour} block",
            f"raise the {word} cube off the table",
            f"please hoist the {colour} box",
            f"the {colour} cube should leave the table top",
        ),
        properties=(f"lift the cube of the colour of {_LIKE[colour]}", f"raise what is {word}"),
        places=("lift the {object} cube", "raise the {object} one of the three cubes"),
        absent_nouns=(f"lift the {colour} ball", f"lift the {colour} mug", "lift the yellow cube"),
        other_verbs=(f"rotate the {colour} cube", f"touch the {colour} cube", f"lower the {colour} cube"),
    )


def _push_block(colour: str) -> Wording:
    word = {"red": "crimson", "green": "emerald", "blue": "azure"}[colour]
    return _blocks(
        f"push_{colour}_left",
        paraphrases=(
            f"slide the {colour} block to the left",
            f"shove the {word} cube to the left side",
            f"please move the {colour} box across the table to the left",
            f"the {colour} cube belongs where your left hand would be",
        ),
        properties=(f"push the cube of the colour of {_LIKE[colour]} to the left", f"slide what is {word} to the left"),
        places=("push the {object} cube to the left", "slide the {object} one of the three cubes to the left"),
        absent_nouns=(f"push the {colour} ball to the left", "push the yellow cube to the left"),
        other_verbs=(f"rotate the {colour} cube to the left", f"throw the {colour} cube to the left"),
    )


BLOCKS: Mapping[str, Wording] = {
    **{f"lift_{colour}": _lift_block(colour) for colour in _LIKE},
    **{f"push_{colour}_left": _push_block(colour) for colour in _LIKE},
    "stack_red_on_green": _blocks(
        "stack_red_on_green",
        paraphrases=(
            "put the red block on top of the green one",
            "please set the crimson cube onto the emerald cube",
            "take the red box and lay it on the green box",
            "build a tower of two with the red cube as its roof",
        ),
        properties=("put the cube of the colour of a ripe tomato on that of the colour of grass",),
        places=("stack the {object} cube on the {target} cube",),
        absent_nouns=("stack the red ball on the green cube", "stack the red cube on the yellow cube"),
        other_verbs=("knock the red cube over the green cube", "hit the green cube with the red cube"),
    ),
}
"""Goal -> the words of the task Blocks where that goal is asked for."""
