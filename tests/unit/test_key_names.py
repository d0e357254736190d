"""Keys and path components: reversible, distinct, and always a valid name."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from s3zipfs.tree.names import decode_component, encode_component

components = st.text(
    alphabet=st.one_of(
        st.sampled_from("%_2E0.~abcdefobject\0é"),
        st.characters(exclude_categories=["Cs"], exclude_characters="/"),
    ),
    max_size=400,
)


@given(components, st.booleans())
@example("", False)
@example(".", True)
@example("..", False)
@example(".s3zipfs", False)
@example(".s3zipfs", True)
@example("%_", True)
@example("%_object", False)
@example("a%_25_", False)
@example("100%", False)
@example("%_" * 200, True)
def test_a_component_comes_back_from_its_name(component: str, shadowed: bool) -> None:
    name = encode_component(component, shadowed=shadowed)
    assert 0 < len(name) <= 255
    assert b"/" not in name
    assert b"\0" not in name
    assert name not in (b".", b"..")
    decoded = decode_component(name)
    assert decoded is not None
    assert decoded[1] == shadowed
    if decoded[2]:
        assert component.startswith(decoded[0])  # a look-up finds it among what begins so
    else:
        assert decoded[0] == component


@given(components, components)
def test_two_components_never_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert encode_component(one) != encode_component(other)
        assert encode_component(one, shadowed=True) != encode_component(other)


@given(st.text(alphabet=st.characters(exclude_characters="/\0%", exclude_categories=["Cs"])))
def test_ordinary_components_are_their_own_names(component: str) -> None:
    raw = component.encode()
    if raw not in (b"", b".", b"..", b".s3zipfs") and len(raw) <= 255:
        assert encode_component(component) == raw


@given(st.binary(min_size=1, max_size=255))
def test_no_name_decodes_to_another_names_component(name: bytes) -> None:
    decoded = decode_component(name)
    if decoded is not None and not decoded[2]:
        assert encode_component(decoded[0], shadowed=decoded[1]) == name
