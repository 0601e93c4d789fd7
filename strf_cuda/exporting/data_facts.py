"""Whose pictures a model was trained on, and what they may be used for: what data sets decide in a model card."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class DataFacts:
    """A data set as a model card describes it.

    Attributes:
        title: its name.
        origin: what it shows, and who published it.
        terms: what may be done with it, and so with what was learned from it.
        licence: the header's licence, in the identifiers of the Hugging Face hub.
    """

    title: str
    origin: str
    terms: str
    licence: dict[str, str]


_RESEARCH = {"license": "other", "license_name": "research-only"}
_OWN = DataFacts(
    "data of its maker's own",
    "tracklets that came with no description. **Whoever publishes this model should say here** whose pictures they "
    "are, when and where they were taken, and what the people in them agreed to.",
    "Unknown here. Without their agreement, pictures of people are no training data.",
    {"license": "unknown"},
)
_FACTS = {
    "walkers": DataFacts(
        "walkers",
        "synthetic people, drawn by strf_cuda itself from a seed. No person, living or dead, is in them.",
        "As free as strf_cuda, under Apache-2.0.",
        {"license": "apache-2.0"},
    ),
    "mars": DataFacts(
        "MARS",
        "video of real people before six cameras (Zheng et al., ECCV 2016).",
        "MARS is for research. So is this model: it must not find, watch or identify anybody outside of research.",
        _RESEARCH,
    ),
    "duke": DataFacts(
        "DukeMTMC-VideoReID",
        "video of real people before eight cameras (Wu et al., CVPR 2018, cut from DukeMTMC of Ristani et al., 2016).",
        "**DukeMTMC was withdrawn by its authors in 2019**: the people in it were recorded outside what the study's "
        "ethics approval allowed, and have not agreed to this use. Prefer a model that was not trained on it, and ask "
        "your institution before you publish figures or pictures of this one.",
        {"license": "other", "license_name": "withdrawn-data"},
    ),
    "ilids": DataFacts(
        "iLIDS-VID",
        "video of real people before two cameras (Wang et al., ECCV 2014).",
        "Its publishers' terms hold for what is made of it: research only, unless they say otherwise.",
        _RESEARCH,
    ),
    "prid": DataFacts(
        "PRID2011",
        "video of real people before two cameras (Hirzer et al., SCIA 2011).",
        "Its publishers' terms hold for what is made of it: research only, unless they say otherwise.",
        _RESEARCH,
    ),
    "folder": _OWN,
    "table": _OWN,
    "packed": _OWN,  # a copy of any of these: which one it does not say
}


def facts_of(reader: str, datasets: Iterable[str]) -> DataFacts:
    """What is known of training data.

    Args:
        reader: `data.name` of the run.
        datasets: the data sets' own names, as evaluations of the run give them: they tell what a packed copy is of.
    """
    named = {facts.title: facts for facts in _FACTS.values()}
    copies = [named[name] for name in datasets if name in named] if reader == "packed" else []
    return copies[0] if copies else _FACTS[reader]
