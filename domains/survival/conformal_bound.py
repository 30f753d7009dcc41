"""temp"""


class ConformalBound:
    pass
