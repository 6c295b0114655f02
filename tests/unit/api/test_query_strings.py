import pytest

from ocelot_api.problems import Problem
from ocelot_api.query_strings import MAX_PARAMETERS, check_number


def test_too_many_parameters_are_refused_before_they_are_read():
    most = b"&".join([b"a=1"] * MAX_PARAMETERS)
    check_number(most)
    check_number(b"")
    with pytest.raises(Problem) as caught:
        check_number(most + b"&a=1")
    assert (caught.value.status, caught.value.code) == (400, "invalid_parameter")
