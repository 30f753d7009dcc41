"""
Survival curves, draws and bounds
=================================

A model of a real trial (the German Breast Cancer Study Group 2, 686 patients, recurrence-free survival) is
fitted on most of the patients and asked about the others: who is at risk, for how long, what a follow-up of
these patients could look like, and how far to trust it.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sciffusion import SDPMSurvival
from sciffusion.datasets import load_gbsg2
from sciffusion.domains.survival.plots import plot_cohorts, plot_patient_curves
from sciffusion.domains.survival.self_check import self_check

study = load_gbsg2()
X_train, X_test, y_train, y_test = train_test_split(
    study.X, study.y, test_size=0.3, random_state=0, stratify=study.event
)
model = SDPMSurvival(random_state=0).fit(X_train, y_train)
print(f"Harrell's concordance on {len(X_test)} other patients: {model.score(X_test, y_test):.3f}")

# %%
# Curves of three patients
# ------------------------
#
# Low, middle and high predicted risk. The model draws observations of such a patient, times with their event
# flags, and the curve is the Kaplan-Meier estimate of those draws.

risk = model.predict(X_test)
places = np.argsort(risk)[[len(risk) // 10, len(risk) // 2, 9 * len(risk) // 10]]
three = X_test.iloc[places]
plot_patient_curves(model, three, labels=["low risk", "middle risk", "high risk"], time_unit="days")
plt.show()

# %%
# Numbers a clinician asks for
# ----------------------------
#
# A median is infinite where fewer than half of such patients would have the event within the follow-up.

print("median, days:          ", model.predict_median(three))
print("event-free days of 1825:", model.predict_rmst(three, tau=1825.0).round())
print("P(event in year 2):    ", model.event_probability(three, 365.0, 730.0).round(3))
remaining = model.sample_event_times(three, 2000, given=730.0, random_state=0) - 730.0
print("after 2 event-free years, P(3 more):", (remaining > 1095.0).mean(axis=1).round(3))

# %%
# Does the generated world look like the observed one?
# ----------------------------------------------------

check = self_check(model, X_test, y_test)
print(check)
plot_cohorts(check.observed, check.generated, time_unit="days")
plt.show()

# %%
# Bounds that hold
# ----------------
#
# With ``calibrate="conformal"`` part of the patients is kept back, and the lower bound of the survival time
# is corrected by what they show.

bounded = SDPMSurvival(random_state=0, calibrate="conformal").fit(X_train, y_train)
plain, corrected = model.predict_lower_bound(three, 0.9), bounded.predict_lower_bound(three, 0.9)
print("nine in ten such patients are event-free until day", plain, "(corrected:", corrected, ")")
