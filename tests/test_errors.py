import inspect

import fedpersona.errors as errors


def test_every_error_is_exported_and_drawn_in_the_tree():
    found = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}
    assert found == set(errors.__all__)
    assert all(name in errors.__doc__ for name in found)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    lines = [line for line in errors.__doc__.splitlines() if "──" in line]
    parents = {0: "FedpersonaError"}
    for line in lines:
        depth = (line.index("──") - 5) // 4
        name = line.split("──")[1].split()[0]
        parents[depth + 1] = name
        assert getattr(errors, name).__base__.__name__ == parents[depth], name


def test_a_data_error_says_file_and_place_first():
    assert str(errors.DataError("is broken", path="a.npz", place="test_i[3]")) == "a.npz: test_i[3]: is broken"
    assert str(errors.DataError("is broken")) == "is broken"
