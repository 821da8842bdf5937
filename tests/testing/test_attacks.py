"""Every attack keeps the contract of attacks, on a convex set and on a discrete one."""

import pytest

from backgrad import attacks
from backgrad.testing import AttackContract
from tests.attacks.problems import ATTACKS, LABELS, LEARNER, SCHEDULE, SETS, P, train_rows, validation_rows
from tests.testing.support import concrete


@pytest.mark.parametrize(("name", "kind"), ATTACKS)
class TestAttacks(AttackContract):
    budget = P
    retraining_tolerance = 1e-12

    @pytest.fixture(autouse=True)
    def _choose(self, name, kind):
        self.name, self.kind = name, kind
        self.optimises = name in ("joint", "greedy", "coordinate", "subpopulation")

    def attack(self):
        return ATTACKS[self.name, self.kind]

    def learner(self):
        return LEARNER

    def schedule(self):
        return SCHEDULE

    def feasible(self):
        return SETS[self.kind]

    def labels(self):
        return LABELS[self.name]

    def train_rows(self):
        return train_rows(self.kind)

    def validation_rows(self):
        return validation_rows(self.kind)


def test_every_attack_is_in_the_table():
    # What greedy and coordinate attacks share can be made, but knows no turns.
    shared = {attacks.pointwise.PointwiseAttack}
    assert concrete(attacks.base.Attack, attacks) - shared == {type(attack) for attack in ATTACKS.values()}
