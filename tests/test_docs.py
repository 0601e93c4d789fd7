"""The documentation against the software: its options, names, links and figures are right."""

import dataclasses
import functools
import importlib
import itertools
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys

import pytest
import torch
import yaml

from bench import export, index, report, walkers
from pages import PAGES, ROOT
from strf_cuda import visualize
from strf_cuda.ablation.reporting import signed
from strf_cuda.ablation.results import with_spread
from strf_cuda.ablation.rows import TABLES
from strf_cuda.cli import _flat_fields, to_dict
from strf_cuda.errors import InputError
from strf_cuda.models.__main__ import ROWS, count_parameters
from tools import input_table, search_table

# What `python -m strf_cuda.NAME` runs, by that name: modules, and packages with a __main__.
COMMANDS = {
    path.parent.name if path.stem == "__main__" else path.stem: ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in [*ROOT.glob("strf_cuda/*.py"), *ROOT.glob("strf_cuda/*/__main__.py")]
    if path.parent.name != "strf_cuda" or (path.stem != "__main__" and '__name__ == "__main__"' in path.read_text())
}


def found(pattern, flags=re.MULTILINE):
    """What a pattern finds on all pages, as test parameters named after page and position."""
    matches = [(page, match) for page, text in PAGES.items() for match in re.finditer(pattern, text, flags)]
    return [pytest.param(*match.groups(), id=f"{page}-{index}") for index, (page, match) in enumerate(matches)]


def rows(page, header):
    """The rows of the table under a header line, as test parameters named by their first cell."""
    lines = iter(PAGES[page].split(f"{header}\n")[1].splitlines()[1:])
    found = itertools.takewhile(lambda line: line.startswith("|"), lines)
    cells = [[cell.strip() for cell in re.split(r"(?<= )\|(?= )", line[1:-1])] for line in found]
    return [pytest.param(*row, id=row[0].strip("`")) for row in cells]


def together(page, header):
    """The rows of a table, as test parameters: the first cell, and the list of the others."""
    return [pytest.param(row.values[0], [*row.values[1:]], id=row.values[0]) for row in rows(page, header)]


@pytest.fixture
def _configurations(tmp_path, monkeypatch):
    """A folder with the YAML files of the pages, which begin with their names."""
    monkeypatch.chdir(tmp_path)
    for text in PAGES.values():
        for content, name in re.findall(r"^```yaml\n(# (\S+\.yaml)\n.*?)^```", text, re.MULTILINE | re.DOTALL):
            (tmp_path / name).write_text(content)


@pytest.mark.usefixtures("_configurations")
@pytest.mark.parametrize(("command", "options"), found(r"^ *\$? *python -m strf_cuda\.(\w+)((?:\\\n|.)*)$"))
def test_commands_can_be_typed_as_printed(command, options):
    words = shlex.split(options, comments=True)
    assert command in COMMANDS
    read_options(command, words)


def read_options(command, words):
    """What a command makes of its words; one without options takes none."""
    module = importlib.import_module(COMMANDS[command])
    if hasattr(module, "read_options"):
        return module.read_options(words)
    assert words == []


@functools.cache
def known_options():
    """All options of all commands: the fields of the configurations that their modules read."""
    drawing = [path.stem for path in ROOT.glob("strf_cuda/visualization/*.py") if path.stem in visualize.PICTURES]
    modules = [*COMMANDS.values(), *(f"strf_cuda.visualization.{name}" for name in drawing)]
    members = [member for module in modules for member in vars(importlib.import_module(module)).items()]
    configs = {value for name, value in members if name.endswith("Config") and dataclasses.is_dataclass(value)}
    return {name for config in configs for name in _flat_fields(config)} | {"config", "print_config", "help"}


@pytest.mark.parametrize("words", found(r"`(--[a-z][^`]*)`(?! \| unknown)"))
def test_options_named_in_the_text_exist(words):
    for option in re.findall(r"--([\w.]+)", words):
        assert option in known_options()


@pytest.mark.parametrize(("comparison", "options"), rows("paper.md", "| paper | options |"))
def test_the_papers_comparisons_are_options_of_training(comparison, options):
    for alternative in re.findall(r"`([^`]*)`", options):
        read_options("train", shlex.split(alternative))


@pytest.mark.parametrize("name", found(r"`(strf_cuda(?:\.\w+)+)"))
def test_names_in_the_text_exist(name):
    pkgutil.resolve_name(name)


@pytest.mark.parametrize("path", found(r"`((?:strf_cuda|csrc|python|tools|tests|bench|docs)/[\w/]+\.\w+)`"))
def test_files_named_in_the_text_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page])
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize(("option", "value", "source"), rows("paper.md", "| option | value | source |"))
def test_the_recipe_is_the_preset(option, value, source):
    config = to_dict(read_options("train", ["--preset=paper"]))
    for part in option.strip("`").split("."):
        config = config[part]
    assert config == yaml.safe_load(value)


def test_parameter_counts_are_those_of_the_models():
    with torch.device("meta"):
        counts = {f"{count_parameters(kind, unit):,}" for kind, unit, _ in ROWS}
    missing = {count for count in counts if count not in PAGES["paper.md"]}
    assert missing == set()


def test_the_times_of_opening_are_those_measured():
    assert index.table(json.loads((ROOT / "bench/results/index.json").read_text())) in PAGES["data.md"]


def test_the_figures_of_search_are_those_measured():
    page = PAGES["searching.md"]
    assert search_table.updated(page, json.loads(search_table.RESULT.read_text())) == page, (
        "python tools/search_table.py puts them there"
    )


def test_the_size_and_speed_of_the_report_are_those_measured():
    assert report.table(json.loads((ROOT / "bench/results/report.json").read_text())) in PAGES["report.md"]


def test_the_formats_of_exported_models_are_as_measured():
    assert export.section(json.loads((ROOT / "bench/results/export.json").read_text())) in PAGES["export.md"]


@pytest.mark.slow
def test_the_description_of_the_walkers_is_what_the_command_prints(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "strf_cuda.data"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.replace(str(tmp_path), "/home/me/.cache") in PAGES["data.md"]


@pytest.mark.parametrize(("words", "answer"), rows("training.md", "| given | answer |"))
def test_mistakes_are_answered_as_the_page_says(words, answer):
    with pytest.raises(InputError) as caught:
        read_options("train", words.strip("`").split())
    assert str(caught.value) == answer


@pytest.mark.parametrize(
    ("name", "source", "count", "difference"),
    rows("ablation.md", "| TABLE | where in the paper | rows | what differs |"),
)
def test_the_papers_tables_are_listed_with_the_number_of_their_rows(name, source, count, difference):
    if name != "all":
        assert (count, source in TABLES[name].source) == (str(len(TABLES[name].rows)), True)


def test_every_table_is_listed():
    assert all(f"| {name} | " in PAGES["ablation.md"] for name in TABLES)


def check_figures(table, name, mAP, rank1, mAP_change, rank1_change):
    """A row's figures are those of the table's file; returns the file's rows by name, and this one."""
    found = {row["name"]: row for row in json.loads((ROOT / f"bench/results/{table}.json").read_text())["rows"]}
    row = found[name]
    assert [mAP, rank1] == [with_spread(row["figures"][figure]) for figure in ("mAP", "rank-1")]
    change = row["difference"] or {"mAP": None, "rank-1": None}
    assert [mAP_change, rank1_change] == [signed(change[figure]) or "-" for figure in ("mAP", "rank-1")]
    return found, row


def test_the_page_of_the_input_pipeline_shows_what_was_measured():
    result = json.loads(input_table.RESULT.read_text(encoding="utf-8"))
    assert input_table.page(result) == PAGES[input_table.PAGE.name], "python tools/input_table.py writes it again"


@pytest.mark.parametrize(
    ("name", "mAP", "rank1", "mAP_change", "rank1_change", "paper"),
    rows("ablation.md", "| | mAP | rank-1 | Δ mAP | Δ rank-1 | paper, MARS: Δ mAP |"),
)
def test_the_figures_of_table_2_are_those_of_its_file(name, mAP, rank1, mAP_change, rank1_change, paper):
    found, row = check_figures("table2_walkers", name, mAP, rank1, mAP_change, rank1_change)
    if row["baseline"]:
        papers = [found[each]["paper"]["mars"]["mAP"] for each in (name, row["baseline"])]
        assert paper == f"{papers[0] - papers[1]:+.1f}"


@pytest.mark.parametrize(
    ("name", "mAP", "rank1", "mAP_change", "rank1_change"),
    rows("ablation.md", "| row | mAP | rank-1 | Δ mAP | Δ rank-1 |"),
)
def test_the_figures_beyond_the_paper_are_those_of_their_file(name, mAP, rank1, mAP_change, rank1_change):
    check_figures("beyond_walkers", name, mAP, rank1, mAP_change, rank1_change)


@pytest.mark.parametrize("name", ["walkers_128x64_c2d", "walkers_64x32_random"])
def test_the_accuracy_shown_is_that_of_its_file(name):
    lines = walkers.table(json.loads((ROOT / f"bench/results/{name}.json").read_text())["rows"]).splitlines()
    shown = [line for line in lines if line.startswith("|")]
    assert len(shown) > 10
    missing = [line for line in shown if line not in PAGES["results.md"]]
    assert not missing
    assert all(line in (ROOT / f"bench/results/{name}.md").read_text() for line in shown)


OPERATOR_FILES = {"AVX2": "operator", "AVX-512": "operator_avx512"}


def operator_figures(level, problem, integration):
    """Time, share of the floor and ratios, forward + backward, each of contiguous and of channels-last input."""
    problems = json.loads((ROOT / f"bench/results/{OPERATOR_FILES[level]}.json").read_text())["problems"]
    found = [each for each in problems if (each["problem"], each["integration"]) == (problem, integration)]
    found.sort(key=lambda each: each["layout"], reverse=True)
    both = [{name: each["forward + backward"] for name, each in entry["contenders"].items()} for entry in found]
    own = [entry["strf_cuda cpu"] for entry in both]
    milliseconds = [f"{each['ms']['median']:.2g}" for each in own]
    times = [f"{float(each):g}" for each in milliseconds], [f"{100 * each['share_of_floor']:.0f}" for each in own]
    measured = [name for name in both[0] if all("ratio" in entry[name] for entry in both)]
    ratios = {name: [f"{entry[name]['ratio']['median']:.1f}" for entry in both] for name in measured}
    return *times, ratios


CONTENDERS = ("literal code", "SDPA", "literal code, torch.compile", "masks summed", "masks summed, torch.compile")


@pytest.mark.parametrize(
    ("problem", "cells"),
    together(
        "results.md",
        "| 8 clips of 4 frames, float32 | level | strf_cuda | share of the floor | literal code | SDPA | torch.compile "
        "of literal | masks summed | torch.compile of summed |",
    ),
)
def test_the_times_of_the_operator_are_those_of_their_file(problem, cells):
    times, shares, ratios = operator_figures(cells[0], problem[:7], problem.split(", ")[1])
    assert cells[1:3] == [f"{' / '.join(times)} ms", f"{' / '.join(shares)}%"]
    assert cells[3:] == [" / ".join(ratios.get(name, [])) for name in CONTENDERS]


@pytest.mark.parametrize(
    ("problem", "cells"),
    together(
        "README.md",
        "| 8 clips of 4 frames, float32, parallel | level | strf_cuda | literal code | torch.compile of it | masks "
        "summed, the strongest plain PyTorch |",
    ),
)
def test_the_readme_has_the_times_of_contiguous_input(problem, cells):
    times, _, ratios = operator_figures(cells[0], problem[:7], "parallel")
    expected = [ratios[name][0] for name in ("literal code", "literal code, torch.compile", "masks summed")]
    assert cells[1:] == [f"{times[0]} ms", f"{expected[0]} times that", *expected[1:]]


@pytest.mark.parametrize("page", ["README.md", "results.md"])
def test_the_differences_by_kind_are_those_of_their_file(page):
    rows = json.loads((ROOT / "bench/results/walkers_128x64_c2d.json").read_text())["rows"]
    found = {row["kind"]: row["difference"]["all mAP"] for row in rows if row["unit"] == "cosine"}
    for kind in walkers.KINDS:
        mean, half = found[kind]
        assert f"{100 * mean:+.1f} ± {100 * half:.1f}" in PAGES[page]


@pytest.mark.parametrize("page", ["README.md", "results.md", "benchmarks.md"])
def test_the_ratio_of_training_steps_is_that_of_its_file(page):
    models = json.loads((ROOT / "bench/results/training_step.json").read_text())["models"]
    assert f"{models['STRF-P3DC cpu']['ratio']['median']:.3f} times" in PAGES[page]


@pytest.mark.parametrize(
    ("name", "cells"),
    together(
        "benchmarks.md",
        "| 8 clips of 4 frames of 256x128 | P3DC, ratio | STRF-P3DC, ratio | STRF-P3DC over P3DC | clips a second "
        "| MB |",
    ),
)
def test_the_ways_to_take_a_step_are_those_of_their_file(name, cells):
    ways = json.loads((ROOT / "bench/results/training_ways.json").read_text())["ways"]
    plain, strf = ways[name]["P3DC"], ways[name]["STRF-P3DC"]
    ratios = [f"{network['ratio']['median']:.2f}" for network in (plain, strf)]
    figures = [f"{strf['over_P3DC']['median']:.3f}", f"{strf['clips_per_s']:.2f}", f"{strf['peak_mb']:,.0f}"]
    assert cells == ratios + figures


def test_what_the_results_say_of_other_ways_is_in_their_file():
    ways = json.loads((ROOT / "bench/results/training_ways.json").read_text())["ways"]
    ratio = {name: f"{networks['STRF-P3DC']['ratio']['median']:.2f}" for name, networks in ways.items()}
    assert f"literal code takes {ratio['plain, float32']} times as long as ours" in PAGES["results.md"]
    assert f"memory {ratio['plain, float32, channels-last']} times" in PAGES["results.md"]
    for page in ("results.md", "training.md"):
        assert f"{ratio['bfloat16']} of the time" in PAGES[page]
