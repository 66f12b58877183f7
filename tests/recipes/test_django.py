"""A Django project: the tables of its auth, admin and content types, an application of its own, and a migration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.recipes.pairs import DJANGO_OPTIONS, Place, Two, program

FILE = "db.sqlite3"
MODELS = """
from django.conf import settings
from django.db import models

class Entry(models.Model):
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    title = models.CharField(max_length=100)
    text = models.TextField(blank=True)
"""
ADMIN = {"DJANGO_SUPERUSER_PASSWORD": "x"}
MORE = '    mood = models.CharField(max_length=20, default="fine")\n'


def django(place: Place, *arguments: str, **environ: str) -> str:
    return place.run(program("django", "python"), "manage.py", *arguments, **environ)


def make_project(place: Place) -> None:
    place.run(program("django", "django-admin"), "startproject", "site1", ".")
    django(place, "startapp", "diary")
    (place.home / "diary" / "models.py").write_text(MODELS)
    settings = place.home / "site1" / "settings.py"
    settings.write_text(settings.read_text() + "\nINSTALLED_APPS += ['diary']\n")
    django(place, "makemigrations", "diary")
    django(place, "migrate")


def shell(place: Place, code: str) -> str:
    imports = "from django.contrib.auth.models import User, Group, Permission\nfrom diary.models import Entry\n"
    return django(place, "shell", "-v", "0", "-c", imports + code)


def shown(place: Place) -> Any:
    """Through Django's models: entries with their authors, groups with their permissions and members."""
    return json.loads(
        shell(
            place,
            "import json\n"
            "print(json.dumps([sorted([e.title, e.text, e.author.username] for e in Entry.objects.all()),"
            "sorted([g.name, sorted(p.codename for p in g.permissions.all()), sorted(u.username for u in"
            " g.user_set.all())] for g in Group.objects.all())]))",
        ).splitlines()[-1]
    )


def upgrade(place: Place) -> None:
    (place.home / "diary" / "models.py").write_text(MODELS + MORE)
    django(place, "makemigrations", "diary")
    django(place, "migrate")


def mood(place: Place) -> str:
    return shell(place, "print(Entry.objects.get().mood)").split()[-1]


def test_two_machines_run_one_project(two: Callable[[str], Two]) -> None:
    machines = two(FILE)
    kitchen, study = machines.places
    for place in machines.places:
        make_project(place)
    django(
        kitchen,
        "createsuperuser",
        "--noinput",
        "--username",
        "ada",
        "--email",
        "ada@example.org",
        **ADMIN,
    )
    machines.bind(*DJANGO_OPTIONS, second=("--merge",))
    shell(
        study,
        "User.objects.create_user('bob'); Entry.objects.create(author=User.objects.get(username='ada'), title='t')",
    )
    machines.show(shown, [[["t", "", "ada"]], []])

    with machines.apart():
        shell(
            kitchen,
            "g = Group.objects.create(name='editors')\n"
            "g.permissions.add(Permission.objects.get(codename='add_entry'))\n"
            "User.objects.get(username='ada').groups.add(g)\n"
            "Entry.objects.create(author=User.objects.get(username='bob'), title='k')",
        )
        shell(
            study,
            "g = Group.objects.create(name='editors')\n"
            "g.permissions.add(Permission.objects.get(codename='view_entry'))\n"
            "User.objects.get(username='bob').groups.add(g)\n"
            "Entry.objects.create(author=User.objects.get(username='bob'), title='s')",
        )
    entries = [["k", "", "bob"], ["s", "", "bob"], ["t", "", "ada"]]
    machines.show(shown, [entries, [["editors", ["add_entry", "view_entry"], ["ada", "bob"]]]])

    # Django deletes what refers to a user itself; the other machine gets the deletes.
    shell(study, "User.objects.get(username='bob').delete()")
    machines.show(shown, [[["t", "", "ada"]], [["editors", ["add_entry", "view_entry"], ["ada"]]]])

    # A migration makes the table anew. Edits of what both know go on while one machine is ahead.
    upgrade(kitchen)
    shell(kitchen, "e = Entry.objects.get(); e.text = 'after'; e.save()")
    machines.until(lambda: shown(study)[0] == [["t", "after", "ada"]], "the older one has what it can show")
    upgrade(study)
    machines.settle()
    for place, value in ((kitchen, "glad"), (study, "calm")):
        shell(place, f"e = Entry.objects.get(); e.mood = '{value}'; e.save()")
        machines.show(mood, value)
    assert kitchen.device.conflicts("home") == []
