from __future__ import annotations

import time

import jinja2
import pytest

from partage.errors import InvalidRequest
from partage.models.templates import engine_template, jinja_of, laid_out

CHATML = (
    "{{- if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{- if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
VICUNA = "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: "
MISTRAL = "[INST] {{ if and .First .System }}{{ .System }} {{ else if not .First }}again {{ end }}{{ .Prompt }} [/INST] {{ .Response }}</s>"
TALK = [("system", "S"), ("user", "one"), ("assistant", "two"), ("user", "three")]


def rendered(template: str, *messages: tuple[str, str], prompt: bool = True) -> str:
    translated = jinja_of(template)
    assert translated is not None
    listed = [{"role": role, "content": content} for role, content in messages]
    return jinja2.Template(translated, keep_trailing_newline=True).render(messages=listed, add_generation_prompt=prompt)


def test_a_turn_is_written_for_each_answer_and_the_last_is_cut_where_the_answer_begins():
    assert rendered(CHATML, *TALK) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
        "<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_names_no_answer_has_it_at_its_end():
    assert rendered(VICUNA, *TALK) == "S\nUSER: one\nASSISTANT: two\nUSER: three\nASSISTANT: "


def test_conditions_are_translated():
    assert rendered(MISTRAL, *TALK) == "[INST] S one [/INST] two</s>[INST] again three [/INST] "


def test_an_answer_inside_a_condition_ends_the_prompt_there_as_in_ollamas_own_test():
    template = (
        "{{- if .System }}{{ .System }} {{ end }}\n{{- if .Prompt }}### USER {{ .Prompt }} {{ end }}\n"
        "{{- if .Response }}### ASSISTANT {{ .Response }} {{ end }}"
    )
    assert rendered(template, *TALK[:2]) == laid_out(template, TALK[:2]) == "S ### USER one "
    assert rendered(template, *TALK) == laid_out(template, TALK) == "S ### USER one ### ASSISTANT two ### USER three "


def test_prompts_in_a_row_become_one():
    assert rendered(VICUNA, ("user", "one"), ("user", "two")) == "\nUSER: one\n\ntwo\nASSISTANT: "


def test_quotes_and_backslashes_stay_text():
    assert rendered("it's \\n {{ .Prompt }}", ("user", "'x'")) == "it's \\n 'x'"


def test_a_comment_says_nothing_and_trims_as_it_says():
    assert rendered("a \n{{- /* not said */ -}}\n b{{ .Prompt }}", ("user", "x")) == "abx"


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}{{ .Content }}{{ end }}",
        "{{ if .Tools }}x{{ end }}{{ .Prompt }}",
        '{{ if eq .Role "user" }}x{{ end }}',
        "{{ .Prompt | json }}",
        "{{ if .System }}{{ .Prompt }}",
        "{{ .Prompt }}" + "x" * 100_000,
    ],
)
def test_what_cannot_be_said_is_left_alone(template: str):
    assert jinja_of(template) is None


def test_jinja_stays_as_it_is():
    jinja = "{% for message in messages %}{{ message.content }}{% endfor %}"
    assert jinja_of(jinja) == jinja


def test_the_files_own_template_goes_before_one_that_came_beside_it():
    assert engine_template(CHATML, "{{ messages }}") == ""
    assert engine_template(CHATML, "") == jinja_of(CHATML)
    assert engine_template("", "") == ""
    assert engine_template("{{ range .Messages }}{{ end }}", "") == ""


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        VICUNA,
        MISTRAL,
        "it's \\n {{ .Prompt }}",
        "{{ if .System }}{{ if .First }}a{{ end }}b{{ else }}c{{ end }}",
    ],
)
@pytest.mark.parametrize("talk", [TALK, TALK[1:], TALK[:2], [*TALK[:2], ("user", "and"), *TALK[2:]], []])
def test_what_is_laid_out_here_is_what_the_translation_would_lay_out(template: str, talk: list[tuple[str, str]]):
    assert laid_out(template, talk) == rendered(template, *talk)


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}{{ .Content }}{{ end }}",
        "{{ if .System }}{{ .Prompt }}",
        "{{ }}",
        "{{ .Prompt }}{{ end }}",
        "{{ end }}{{ if .System }}",
        "{{ else }}{{ .Prompt }}",
        "{{ else if .System }}{{ .Prompt }}",
        "{{ .Prompt }} and {{",
        "{{ if .System }}" * 101 + "{{ .Prompt }}" + "{{ end }}" * 101,
    ],
)
def test_what_is_not_known_is_not_laid_out(template: str):
    assert laid_out(template, TALK) is None


@pytest.mark.parametrize("template", ["{{- " * 16_000, "{{" + " " * 60_000, "{{ }" * 16_000, "x" * 70_000])
def test_a_hostile_template_is_found_out_at_once(template: str):
    began = time.monotonic()
    assert laid_out(template, TALK) is None
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("template", "talk", "reason"),
    [
        ("{{ .Prompt }}" * 4000, [("user", "word" * 2000)], "longer than 16 Mi characters"),
        ("{{ .Prompt }}" * 4000, [("user", "a"), ("assistant", "b")] * 200, "too long for so many messages"),
    ],
)
def test_a_template_does_not_swell_a_prompt_beyond_any_context(template: str, talk: list[tuple[str, str]], reason: str):
    with pytest.raises(InvalidRequest, match=reason):
        laid_out(template, talk)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("a {{- .Prompt -}} b", "axb"),
        ("a {{-\n.Prompt\t-}} b", "axb"),
        ("a {{ .Prompt }} b", "a x b"),
        ("}} {{.Prompt}}", "}} x"),
    ],
)
def test_white_space_goes_where_a_dash_says_so(template: str, prompt: str):
    assert laid_out(template, [("user", "x")]) == prompt
