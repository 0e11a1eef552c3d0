"""What is simulated has the layout that is read; what a command took is measured if it succeeded."""

from running import experiment

from latentode.adapters import medical

run = experiment("first_look")


def test_events_and_records_are_read_by_their_adapters(tmp_path):
    run.lab_events(tmp_path / "labs.csv", 500)
    frame, schema = medical.lab_events(tmp_path / "labs.csv")
    assert len(frame) == 500 and len(schema.targets) == len(run.ITEMS)
    run.records(tmp_path / "set-a", 3)
    frame, schema = medical.physionet2012(tmp_path / "set-a")
    assert frame[schema.id].nunique() == 3 and set(schema.targets) == {"HR", "Temp"}


def test_a_look_reads_every_event_and_is_measured(tmp_path):
    run.lab_events(tmp_path / "labs.csv", 5_000)
    taken = run.run("inspect", tmp_path / "labs.csv", *run.ROLES)
    assert "rows           5000" in taken.said
    assert taken.cpu > 0 and taken.wall > 0


def test_a_command_that_fails_is_no_measurement(tmp_path):
    try:
        run.run("inspect", tmp_path / "none.csv")
    except RuntimeError as error:
        assert "none.csv" in str(error)
    else:
        raise AssertionError("a failed command was measured")
