"""The comparisons of the paper as data: for each row its options and what the paper prints.

A table says where in the paper it stands, a row how it is trained. What the paper shows only as a picture has no
figures here; what can be taken from a sentence has that sentence as its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PICTURE = "the paper prints a picture only"
SAME_AS_TABLE_2 = "the figures of the same model in Table 2"


@dataclass(frozen=True)
class Printed:
    """What the paper gives for a row on one data set, in percent.

    Attributes:
        mAP, rank1: None where the paper gives none.
        source: where it stands if not in the table itself, or why there is nothing.
    """

    mAP: float | None = None
    rank1: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: as the paper prints it.
        options: of `strf_cuda.train`, by dotted name.
        paper: what the paper gives, by data set.
        baseline: the row it is compared with, None for a baseline.
        parameters: millions of parameters as the paper prints them.
        evaluation: options of `strf_cuda.evaluate` for a row that is an evaluation of a trained model.
        note: what a reader must know about this row.
    """

    name: str
    options: Mapping[str, Any]
    paper: Mapping[str, Printed] = field(default_factory=dict)
    baseline: str | None = None
    parameters: str | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class Quoted:
    """A model that the paper compares with and that is not in this package.

    Attributes:
        more_parameters: millions that it has more than STRF-P3DC, as the paper says.
    """

    name: str
    paper: Mapping[str, Printed]
    more_parameters: float


@dataclass(frozen=True)
class Table:
    """One comparison.

    Attributes:
        title: in plain words.
        source: where it stands in the paper.
        demo: options of all rows that the small models of the preset demo need.
        notes: places where the paper contradicts itself, and readings of it.
        quoted: what the paper says of models that are not in this package.
        by_parameters: drawn over the number of parameters.
    """

    title: str
    source: str
    rows: tuple[Row, ...]
    demo: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    quoted: tuple[Quoted, ...] = ()
    by_parameters: bool = False


def mars(mAP: float | None = None, rank1: float | None = None, source: str | None = None) -> dict[str, Printed]:
    return {"mars": Printed(mAP, rank1, source)}


def strf(**options: Any) -> dict[str, Any]:
    """Options of a STRF-P3DC, with changes in the options of its model."""
    return {"model.kind": "p3dc", "model.unit": "strf", **{f"model.{name}": value for name, value in options.items()}}


P3DC = {"model.kind": "p3dc", "model.unit": "none"}
PATHS = {"(s,τ)": "spatial_fine", "(s,ς)": "spatial_coarse", "(t,τ)": "temporal_dynamic", "(t,ς)": "temporal_static"}
# The order in which the unit names them by default.
PATH_ORDER = ("temporal_dynamic", "temporal_static", "spatial_fine", "spatial_coarse")
TWO_BLOCKS = {"model.depth": (1, 2, 2, 1)}  # non-local blocks follow the second block of a stage
BASELINE = Row("Baseline", P3DC, mars(83.10, 88.50))


def improvement(kind: str, base: tuple, with_unit: tuple, parameters: tuple[str, str]) -> tuple[Row, Row]:
    """A baseline of Table 2 and its STRF row; figures are mAP and rank-1 on MARS, then on DukeMTMC-VideoReID."""
    name = kind.upper()
    plain, unit = ({"model.kind": kind, "model.unit": choice} for choice in ("none", "strf"))
    printed = [{"mars": Printed(*four[:2]), "duke": Printed(*four[2:])} for four in (base, with_unit)]
    return (
        Row(name, plain, printed[0], None, parameters[0]),
        Row(f"{name} + STRF", unit, printed[1], name, parameters[1]),
    )


def with_paths(modules: str, mAP: float, rank1: float) -> Row:
    """A row of Table 4 or of the supplement's Table 2, named by its modules."""
    chosen = {PATHS[module] for module in modules.split(" + ")}
    name = f"+ STRF {modules}" if len(chosen) < 4 else "+ STRF, all four"
    return Row(name, strf(paths=tuple(p for p in PATH_ORDER if p in chosen)), mars(mAP, rank1), BASELINE.name)


def in_stages(stages: tuple[int, ...], mAP: float, rank1: float) -> Row:
    """A row of Table 5 or of the supplement's Table 1."""
    name = f"+ STRF, stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))}"
    return Row(name, strf(stages=stages), mars(mAP, rank1), BASELINE.name)


STAGES_DISAGREE = (
    "For stages 2, 3, 4 Table 5 prints 85.50 / 90.00 and the supplement's Table 1 85.30 / 90.10, without a reason."
)
SUPPLEMENT_REFERS_WRONGLY = "The supplement's text speaks of its Table 2 where it means its Table 1."
SEE_4_2 = "section 4.2, read from the text"

TABLES: dict[str, Table] = {
    "table2": Table(
        "Baselines with and without STRF",
        "Table 2, section 4.1",
        (
            *improvement("i3d", (82.70, 88.50, 95.20, 95.40), (83.10, 88.70, 95.20, 95.90), ("28.92", "28.97")),
            *improvement("p3da", (83.20, 88.90, 95.00, 95.00), (85.40, 89.80, 95.60, 96.00), ("25.48", "25.53")),
            *improvement("p3db", (83.00, 88.80, 95.40, 95.30), (85.60, 90.30, 96.40, 97.40), ("25.48", "25.53")),
            *improvement("p3dc", (83.10, 88.50, 95.30, 95.30), (86.10, 90.30, 96.20, 97.20), ("25.48", "25.53")),
        ),
        notes=(
            'Section 4.1 speaks of "at least 2.5% mAP" more for P3D baselines and "about 0.5%" for I3D on MARS; its '
            "table shows 2.2 for P3DA and 0.4 for I3D.",
            "The paper cuts parameter counts off after two digits: 28,978,865 is printed as 28.97.",
        ),
    ),
    "table4": Table(
        "Contribution of each factorization module",
        "Table 4, section 4.2",
        (
            BASELINE,
            with_paths("(s,τ)", 85.20, 89.70),
            with_paths("(s,ς)", 85.10, 89.90),
            with_paths("(t,τ)", 85.20, 89.90),
            with_paths("(t,ς)", 85.10, 90.00),
            with_paths("(s,τ) + (s,ς)", 85.50, 90.10),
            with_paths("(t,τ) + (t,ς)", 85.30, 89.70),
            with_paths("(s,τ) + (t,τ)", 85.40, 90.00),
            with_paths("(s,τ) + (s,ς) + (t,τ) + (t,ς)", 86.10, 90.30),
        ),
    ),
    "table5": Table(
        "STRF in other stages",
        "Table 5, section 4.2",
        (
            BASELINE,
            in_stages((1,), 83.40, 88.80),
            in_stages((1, 2), 83.60, 89.00),
            in_stages((2, 3), 86.10, 90.30),
            in_stages((1, 2, 3), 84.70, 89.30),
            in_stages((2, 3, 4), 85.50, 90.00),
            in_stages((1, 2, 3, 4), 83.70, 88.70),
        ),
        notes=(
            "The text says that STRF in stage 1 reduces mAP; against the baseline it adds 0.3, and it reduces what "
            "stages 2 and 3 reach.",
            STAGES_DISAGREE,
        ),
    ),
    "figure4a": Table(
        "Resolutions (dynamic and fine, static and coarse)",
        "Figure 4(a), section 4.2",
        (
            Row("(1, 1)", strf(resolutions=(1, 1)), mars(source=PICTURE), "(1, 3)"),
            Row("(1, 3)", strf(resolutions=(1, 3)), mars(86.10, 90.30, SAME_AS_TABLE_2)),
            Row("(1, 5)", strf(resolutions=(1, 5)), mars(85.90, None, f"{SEE_4_2}: 0.2 below (1, 3)"), "(1, 3)"),
            Row("(3, 5)", strf(resolutions=(3, 5)), mars(85.70, None, f"{SEE_4_2}: 0.4 below (1, 3)"), "(1, 3)"),
        ),
        notes=("The caption names the pair of the best results (r_ς, r_ς); section 4.2 has (r_τ, r_ς).",),
    ),
    "figure4b": Table(
        "Pools of the temporal and of the spatial paths",
        "Figure 4(b), section 4.2",
        (
            Row("max, max", strf(temporal_pool="max", spatial_pool="max"), mars(86.10, 90.30, SAME_AS_TABLE_2)),
            *(
                Row(f"{t}, {s}", strf(temporal_pool=t, spatial_pool=s), mars(source=PICTURE), "max, max")
                for t, s in (("max", "avg"), ("avg", "max"), ("avg", "avg"))
            ),
        ),
        notes=(
            "Names are temporal pool, spatial pool. The paper says that max, max is best. At the resolutions (1, 3) "
            "only the static and the coarse path pool at all.",
        ),
    ),
    "figure4c": Table(
        "Integration of the temporal and spatial halves",
        "Figure 4(c), section 4.2",
        (
            Row("temporal, then spatial", strf(integration="temporal_spatial"), mars(86.10, 90.30, SAME_AS_TABLE_2)),
            Row(
                "spatial, then temporal",
                strf(integration="spatial_temporal"),
                mars(source=PICTURE),
                "temporal, then spatial",
            ),
            Row(
                "parallel",
                strf(integration="parallel"),
                mars(85.70, None, f"{SEE_4_2}: about 0.4 from the best"),
                "temporal, then spatial",
            ),
        ),
        notes=(
            "The paper contradicts itself: section 4.2 calls temporal first the best, the caption of Figure 4 spatial "
            "first. The figures of STRF are given here to temporal first, as the text has it.",
        ),
    ),
    "figure6a": Table(
        "STRF with and without its attention masks (FAM)",
        "Figure 6(a), section 4.2",
        (
            Row("STRF", strf(), mars(86.10, 90.30, SAME_AS_TABLE_2)),
            Row("STRF without FAM", {**P3DC, "model.unit": "gram"}, mars(source=PICTURE), "STRF"),
        ),
        notes=('The paper says only "comparatively lower performance" of the module without FAM.',),
    ),
    "figure6b": Table(
        "Parameters and mAP",
        "Figure 6(b), section 4.3",
        (
            Row("C2D", {"model.kind": "c2d", "model.unit": "none"}, note="not in the paper's figure"),
            Row(
                "C2D + non-local",
                {"model.kind": "c2d", "model.unit": "nonlocal"},
                baseline="C2D",
                note="not in the paper's figure",
            ),
            Row("I3D", {"model.kind": "i3d", "model.unit": "none"}, mars(82.70, 88.50, "Table 2"), None, "28.92"),
            Row(
                "I3D + STRF", {"model.kind": "i3d", "model.unit": "strf"}, mars(83.10, 88.70, "Table 2"), "I3D", "28.97"
            ),
            Row("P3DC", P3DC, mars(83.10, 88.50, "Table 2"), None, "25.48"),
            Row("P3DC + STRF", strf(), mars(86.10, 90.30, "Table 2"), "P3DC", "25.53"),
            Row("P3DC + non-local", {**P3DC, "model.unit": "nonlocal"}, mars(84.80, 89.90, "section 3.3"), "P3DC"),
        ),
        demo=TWO_BLOCKS,
        quoted=(
            Quoted("AP3D", mars(85.60, 90.70, "Table 3"), 6.0),
            Quoted("M3D", mars(79.46, 88.63, "Table 3"), 75.0),
        ),
        notes=(
            "AP3D and M3D are not in this package: their figures are those of Table 3, their parameters what section "
            "4.3 says, about 6 and 75 million more than STRF.",
        ),
        by_parameters=True,
    ),
    "nonlocal": Table(
        "STRF and the non-local block",
        "section 3.3, FFM vs Non-Local",
        (
            Row("P3DC", P3DC, mars(83.10, 88.50, SAME_AS_TABLE_2), None, "25.48"),
            Row("P3DC + non-local", {**P3DC, "model.unit": "nonlocal"}, mars(84.80, 89.90), "P3DC"),
            Row("P3DC + STRF", strf(), mars(86.10, 90.30), "P3DC", "25.53"),
        ),
        demo=TWO_BLOCKS,
        notes=(
            'Section 3.3 speaks of "~0.5 million" more parameters for STRF and "~5 million" for the non-local block. '
            "Table 2 has 0.05 for STRF, which is what it adds here; non-local blocks of half the channels at five "
            "places add 7.36.",
        ),
    ),
    "supplement-table1": Table(
        "STRF in single and later stages",
        "supplement, Table 1",
        (
            BASELINE,
            in_stages((2,), 85.40, 89.70),
            in_stages((3,), 85.20, 89.80),
            in_stages((3, 4), 84.00, 89.40),
            in_stages((2, 3, 4), 85.30, 90.10),
        ),
        notes=(STAGES_DISAGREE, SUPPLEMENT_REFERS_WRONGLY),
    ),
    "supplement-table2": Table(
        "Further combinations of factorization modules",
        "supplement, Table 2",
        (
            BASELINE,
            with_paths("(s,τ) + (t,ς)", 85.40, 89.50),
            with_paths("(s,ς) + (t,τ)", 85.30, 89.60),
            with_paths("(s,τ) + (s,ς) + (t,ς)", 85.60, 90.10),
            with_paths("(s,τ) + (s,ς) + (t,τ)", 85.70, 90.20),
            with_paths("(s,τ) + (t,τ) + (t,ς)", 85.40, 89.80),
            with_paths("(s,ς) + (t,τ) + (t,ς)", 85.60, 90.00),
        ),
        notes=("The baseline is not printed in this table; its figures are those of Table 4.",),
    ),
    "supplement-figure2": Table(
        "Place of the unit in a P3D block",
        "supplement, Figure 2",
        (
            Row("3x1x1", strf(placement="temporal"), mars(86.10, 90.30, SAME_AS_TABLE_2)),
            Row("1x3x3", strf(placement="spatial"), mars(source=PICTURE), "3x1x1"),
        ),
        notes=("The paper says that STRF is best with the 3x1x1 convolution.",),
    ),
    "similarity": Table(
        "How the masks compare positions",
        "not in the paper; the reading of its equation (3) in docs/paper.md",
        (
            Row("P3DC", P3DC),
            Row("+ STRF, cosine", strf(similarity="cosine"), baseline="P3DC"),
            Row("+ STRF, cosine, temperature 64", strf(similarity="cosine", temperature=64.0), baseline="P3DC"),
            Row("+ STRF, dot", strf(similarity="dot"), baseline="P3DC"),
        ),
        notes=("Without another figure the temperature is 16 for cosines, and for dot products 4, as in the paper.",),
    ),
    "beyond": Table(
        "What other work adds, and the paper leaves out",
        "not in the paper",
        (
            Row("STRF-P3DC", strf()),
            Row("+ label smoothing", {**strf(), "optimizer.label_smoothing": 0.1}, baseline="STRF-P3DC"),
            Row(
                "+ warm-up and cosine",
                {**strf(), "optimizer.warmup": 5, "optimizer.schedule": "cosine"},
                baseline="STRF-P3DC",
            ),
            Row("+ averaged weights", {**strf(), "optimizer.ema": 0.99}, baseline="STRF-P3DC"),
            Row("flipped clips", strf(), baseline="STRF-P3DC", evaluation={"flip": True}),
            Row("all frames in one clip", strf(), baseline="STRF-P3DC", evaluation={"frames": "all", "stride": 1}),
            Row("re-ranking", strf(), baseline="STRF-P3DC", evaluation={"rerank": True}),
        ),
        notes=(
            "Rows with a + are trained so: smoothing 0.1; 5 epochs of warm-up, then half a cosine; an average of the "
            "weights with a decay of 0.99 a step. The rows after them evaluate the first row's models in another way.",
            "Figures with re-ranking must not be compared with figures without it.",
        ),
    ),
}
PAPER_TABLES = tuple(name for name in TABLES if name not in ("similarity", "beyond"))
