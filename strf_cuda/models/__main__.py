"""`python -m strf_cuda.models`: parameter counts of the models beside those that the paper prints."""

from strf_cuda.models import create_model

MARS_PEOPLE = 625
# Kind, unit, millions of parameters in the paper's Table 2 (None: the paper has no such row).
ROWS = (
    ("c2d", None, None),
    ("c2d", "nonlocal", None),
    ("i3d", None, "28.92"),
    ("i3d", "strf", "28.97"),
    ("p3da", None, "25.48"),
    ("p3da", "strf", "25.53"),
    ("p3db", None, "25.48"),
    ("p3db", "strf", "25.53"),
    ("p3dc", None, "25.48"),
    ("p3dc", "strf", "25.53"),
)


def count_parameters(kind: str, unit: str | None, num_classes: int = MARS_PEOPLE) -> int:
    """Trainable parameters of a full-size model, classifier included."""
    return sum(parameter.numel() for parameter in create_model(kind, num_classes, unit=unit).parameters())


def main() -> None:
    print(f"Parameters with a classifier for the {MARS_PEOPLE} training people of MARS\n")
    print(f"{'model':<16}{'parameters':>12}{'millions':>10}{'paper':>8}")
    for kind, unit, printed in ROWS:
        name = kind.upper() if unit is None else f"  + {unit.upper() if unit == 'strf' else 'non-local'}"
        count = count_parameters(kind, unit)
        # The paper cuts off after two digits where it does not round: 28.978865 is printed as 28.97.
        print(f"{name:<16}{count:>12,}{count / 1e6:>10.3f}{printed or '-':>8}")


if __name__ == "__main__":
    main()
