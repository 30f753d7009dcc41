"""Cards of the survival sets that scikit-survival carries."""

from __future__ import annotations

from .cards import Column, DatasetCard, Origin

__all__ = ["AIDS", "BREAST_CANCER", "FLCHAIN", "GBSG2", "VETERANS", "WHAS500"]

LICENCE = "public research data; scikit-survival, which carries the file, is under GPL-3"


def _origin(file: str, sha256: str) -> Origin:
    return Origin("scikit-survival", "0.28.0", f"sksurv/datasets/data/{file}", sha256)


VETERANS = DatasetCard(
    name="veterans",
    title="Veterans' Administration lung cancer trial",
    kind="load",
    citation="Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 2002",
    licence=LICENCE,
    origin=_origin("veteran.arff", "71dbc9e235f3cc2ed10b3a254e39f985c092346d1c845736ed21b13fbe263456"),
    n_rows=137,
    n_events=128,
    time_unit="days since randomisation",
    event_meaning="died",
    columns=(
        Column("Age_in_years", "age", "years"),
        Column("Celltype", "histology: adeno, large, smallcell, squamous"),
        Column("Karnofsky_score", "performance, 0 (bad) to 100 (good)"),
        Column("Months_from_Diagnosis", "time between diagnosis and randomisation", "months"),
        Column("Prior_therapy", "treated before: no, yes"),
        Column("Treatment", "standard or test chemotherapy (randomised)"),
    ),
)

WHAS500 = DatasetCard(
    name="whas500",
    title="Worcester Heart Attack Study, 500 admissions",
    kind="load",
    citation="Hosmer, Lemeshow, May, Applied Survival Analysis, 2008",
    licence=LICENCE,
    origin=_origin("whas500.arff", "f64040c91398875137822eca306a927208df6896808cd9764af7065722fa53d6"),
    n_rows=500,
    n_events=215,
    time_unit="days since hospital admission",
    event_meaning="died",
    columns=(
        Column("afb", "atrial fibrillation: 0 no, 1 yes"),
        Column("age", "age at admission", "years"),
        Column("av3", "complete heart block: 0 no, 1 yes"),
        Column("bmi", "body mass index", "kg/m^2"),
        Column("chf", "congestive heart complications: 0 no, 1 yes"),
        Column("cvd", "history of cardiovascular disease: 0 no, 1 yes"),
        Column("diasbp", "diastolic blood pressure at admission", "mmHg"),
        Column("gender", "0 male, 1 female"),
        Column("hr", "heart rate at admission", "beats/min"),
        Column("miord", "order of the infarction: 0 first, 1 recurrent"),
        Column("mitype", "type of the infarction: 0 non-Q-wave, 1 Q-wave"),
        Column("sho", "cardiogenic shock: 0 no, 1 yes"),
        Column("sysbp", "systolic blood pressure at admission", "mmHg"),
    ),
    dropped=("los: length of the hospital stay, known only at discharge or death",),
    leaks=("los: bounded by the time of death for those who died in hospital",),
    notes=("chf, av3 and sho are complications recorded during the admission that starts the clock.",),
)

GBSG2 = DatasetCard(
    name="gbsg2",
    title="German Breast Cancer Study Group 2",
    kind="load",
    citation="Schumacher et al., Journal of Clinical Oncology 12:2086-2093, 1994",
    licence=LICENCE,
    origin=_origin("GBSG2.arff", "8c1ba1df4d80216b58695d6bbc9f51284664ab37124e101d56df089851645b04"),
    n_rows=686,
    n_events=299,
    time_unit="days since operation",
    event_meaning="cancer came back, or died",
    columns=(
        Column("age", "age", "years"),
        Column("estrec", "oestrogen receptor", "fmol/mg"),
        Column("horTh", "hormone therapy: no, yes"),
        Column("menostat", "menopausal status: Post, Pre"),
        Column("pnodes", "number of positive lymph nodes"),
        Column("progrec", "progesterone receptor", "fmol/mg"),
        Column("tgrade", "tumour grade: I, II, III"),
        Column("tsize", "tumour size", "mm"),
    ),
    notes=("lifelines carries the same rows; they are read from there where scikit-survival is missing.",),
)

BREAST_CANCER = DatasetCard(
    name="breast_cancer",
    title="Distant metastasis in node-negative breast cancer, gene expression (TRANSBIG)",
    kind="load",
    citation="Desmedt et al., Clinical Cancer Research 13:3207-3214, 2007 (GEO series GSE7390)",
    licence=LICENCE,
    origin=_origin(
        "breast_cancer_GSE7390-metastasis.arff",
        "233f4c1c06b2ee299fffcba0f9881f6ed66a3566ccbec30b5004f0d298b52570",
    ),
    n_rows=198,
    n_events=51,
    time_unit="days since diagnosis",
    event_meaning="distant metastasis",
    columns=(
        Column(
            "X*_at",
            "expression of one probe of the 76-gene signature (Affymetrix identifier)",
            "log2 intensity",
        ),
        Column("age", "age at diagnosis", "years"),
        Column("er", "oestrogen receptor: negative, positive"),
        Column("grade", "tumour grade: well, intermediate or poorly differentiated, unknown"),
        Column("size", "tumour size", "cm"),
    ),
    notes=("80 covariates for 51 events: unpenalised models overfit.",),
)

FLCHAIN = DatasetCard(
    name="flchain",
    title="Serum free light chain and death in Olmsted County",
    kind="load",
    citation="Dispenzieri et al., Mayo Clinic Proceedings 87:512-523, 2012",
    licence=LICENCE,
    origin=_origin("flchain.arff", "bf2600ec437dd19071f73bdad82de681780457d1141ec36ed551b0026e6e5773"),
    n_rows=7874,
    n_events=2169,
    time_unit="days since the blood sample",
    event_meaning="died",
    columns=(
        Column("age", "age", "years"),
        Column("creatinine", "serum creatinine", "mg/dL"),
        Column("flc.grp", "tenth of the free light chain distribution, 1 (low) to 10 (high)"),
        Column("kappa", "free light chain, kappa portion", "mg/dL"),
        Column("lambda", "free light chain, lambda portion", "mg/dL"),
        Column("mgus", "monoclonal gammopathy diagnosed: no, yes"),
        Column("sample.yr", "calendar year of the sample", "year"),
        Column("sex", "F, M"),
    ),
    dropped=("chapter: ICD chapter of the cause of death, filled in only for those who died",),
    leaks=("chapter: missing exactly for the rows that are censored",),
    notes=(
        "creatinine is missing in 1350 rows; three rows have time 0.",
        "sample.yr bounds the follow-up of survivors (one closing date): it is tied to censoring, not death.",
        "flc.grp and sample.yr are ordered, so they are numbers here and not categories.",
    ),
)

AIDS = DatasetCard(
    name="aids",
    title="AIDS Clinical Trials Group study 320",
    kind="load",
    citation="Hosmer, Lemeshow, May, Applied Survival Analysis, 2008",
    licence=LICENCE,
    origin=_origin("actg320.arff", "f0613690853c36fc7b9b936cfae4c95ba460b64df1989cc1ccc126b729eae455"),
    n_rows=1151,
    n_events=96,
    time_unit="days since enrolment",
    event_meaning="AIDS-defining disease or death",
    columns=(
        Column("age", "age", "years"),
        Column("cd4", "CD4 cell count at enrolment", "cells/mL as published"),
        Column("hemophil", "haemophiliac: 0 no, 1 yes"),
        Column("ivdrug", "injected drugs: 1 never, 2 currently, 3 formerly"),
        Column("karnof", "Karnofsky score, 70 (bad) to 100 (good)"),
        Column("priorzdv", "zidovudine before enrolment", "months"),
        Column("raceth", "race and ethnicity, code 1 to 6"),
        Column("sex", "1 male, 2 female"),
        Column("strat2", "CD4 stratum at screening: 0 at most 50, 1 above"),
        Column("tx", "indinavir: 0 no, 1 yes (randomised)"),
        Column("txgrp", "treatment arm, code 1 to 4"),
    ),
    notes=("tx and txgrp say the same for almost all rows; fewer than one row in ten has an event.",),
)
