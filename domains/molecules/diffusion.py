"""`MoleculeDiffusion`: molecules as strings, drawn freely, tilted to properties, or around a scaffold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sciffusion.estimators.random_state import integer_seed
from sciffusion.estimators.token_alphabet import EncodedTokens
from sciffusion.estimators.validation import check_boolean, check_integer, check_number

from .molecule_draws import DrawRequest, draw_molecules
from .molecule_model import MoleculeModel
from .parsing import parse_smiles
from .pretrained import pretrained_file
from .rewards import OnRewardError, RewardInput
from .scaffold import read_scaffold
from .targets import Method
from .templates import read_template

__all__ = ["MoleculeDiffusion"]

_GAPS = 7  # stream of the lengths of gaps in a scaffold


class MoleculeDiffusion(MoleculeModel):
    r"""Discrete diffusion for molecules as SELFIES or SMILES.

    A transformer learns to undo the corruption of the tokens of molecules. From this one model come new
    molecules, molecules tilted to a property by classifier-free guidance, by guidance with a network of noisy
    molecules' properties or by weighted particles with any reward, molecules around a scaffold, and lower
    bounds of log likelihoods.

    Parameters
    ----------
    representation : {"selfies", "smiles"}, default "selfies"
        How molecules are written. Every string of SELFIES is a molecule; SMILES must be learned to be valid,
        and can hold scaffolds with several attachment points.
    canonical : bool, default True
        Whether SMILES are brought into RDKit's canonical form first, so that a molecule has one string.
    property_network : bool, default False
        Also train a network that tells `y` from noisy molecules, which ``method="cbg"`` needs.
    process, schedule, objective, alphabet, max_length
        As in `TokenDiffusion`: "mask", "uniform" or "uniform_absorbing" noise; the alphabet is made of tokens
        of the representation, and lengths count them.
    width, depth, n_heads, dropout, condition_dropout, known_share
        As in `TokenDiffusion`.
    learning_rate, weight_decay, batch_size, max_steps, warmup_steps, ema_decay, patience, validation_fraction
        As in `TokenDiffusion`.
    nfe, solver, draws
        As in `TokenDiffusion`: defaults of the methods that draw, and of bounds.
    random_state, device, verbose, trainer_options, checkpoint
        As in `TokenDiffusion`.

    Attributes
    ----------
    report_ : InputReport
        What was left out of the last fit, with reasons.
    property_names_ : list of str
        Properties that draws can be conditioned on.
    alphabet_, max_length_, variable_length_, classes_
        As in `TokenDiffusion`, of tokens of the representation.

    References
    ----------
    S. Sahoo and others, "Simple and Effective Masked Diffusion Language Models", arXiv 2406.07524. Y. Schiff
    and others, "Simple Guidance Mechanisms for Discrete Diffusion Models", arXiv 2412.10193. R. Singhal and
    others, "A General Framework for Inference-time Scaling and Steering of Diffusion Models", arXiv
    2501.06848. M. Krenn and others, "Self-referencing embedded strings", arXiv 1905.13741.

    Examples
    --------
    >>> from sciffusion import MoleculeDiffusion
    >>> smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O"] * 10
    >>> model = MoleculeDiffusion(width=16, depth=1, max_steps=20, random_state=0).fit(smiles)
    >>> len(model.sample(3, random_state=0))
    3
    """

    def __init__(
        self,
        *,
        representation: str = "selfies",
        canonical: bool = True,
        property_network: bool = False,
        process: str = "mask",
        schedule: str = "linear",
        objective: str = "auto",
        alphabet: Sequence[str] | None = None,
        max_length: int | None = None,
        width: int = 128,
        depth: int = 4,
        n_heads: int = 4,
        dropout: float = 0.0,
        condition_dropout: float = 0.1,
        known_share: float = 0.25,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 128,
        max_steps: int = 2000,
        warmup_steps: int = 100,
        ema_decay: float = 0.995,
        patience: int | None = 20,
        validation_fraction: float = 0.1,
        nfe: int = 32,
        solver: Any = "auto",
        draws: int = 32,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.representation = representation
        self.canonical = canonical
        self.property_network = property_network
        self.process = process
        self.schedule = schedule
        self.objective = objective
        self.alphabet = alphabet
        self.max_length = max_length
        self.width = width
        self.depth = depth
        self.n_heads = n_heads
        self.dropout = dropout
        self.condition_dropout = condition_dropout
        self.known_share = known_share
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.warmup_steps = warmup_steps
        self.ema_decay = ema_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.solver = solver
        self.draws = draws
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Return a published model that comes with the package.

        Parameters
        ----------
        name : str
            One of `list_pretrained`.

        Raises
        ------
        ValueError
            If there is no such model, with the names of those there are.
        """
        return cls.load(pretrained_file(name))

    # ---------------------------------------------------------------- draws

    def sample(  # type: ignore[override]
        self,
        n_samples: int = 1,
        *,
        reward: Any = None,
        scale: float = 1.0,
        method: Method = "auto",
        condition: Any = None,
        scaffold: str | None = None,
        require_scaffold: bool = False,
        only_valid: bool = False,
        nfe: int | None = None,
        solver: Any = None,
        particles: int | None = None,
        guide: bool = False,
        reward_every: int | None = None,
        reward_draws: int = 1,
        reward_takes: RewardInput = "smiles",
        on_reward_error: OnRewardError = "raise",
        return_weights: bool = False,
        as_molecules: bool = False,
        random_state: Any = None,
    ) -> Any:
        r"""Draw molecules.

        Parameters
        ----------
        n_samples : int >= 1, default 1
            Number of molecules.
        reward : callable, str, (name, value) or mapping, optional
            What is asked for: a function from a list of molecules to numbers, a property that is to be large,
            or values of properties with tolerances (see `sciffusion.domains.molecules.targets`).
        scale : float, default 1
            With "fk" and "cbg" the factor :math:`\lambda` of the reward; with "cfg" the strength of guidance,
            1 being the model given the values.
        method : {"auto", "cfg", "cbg", "fk"}, default "auto"
            "cfg" conditions on values of properties that were `y` of the fit; "cbg" guides every step by a
            network that tells these properties from noisy molecules; "fk" weighs and resamples particles by
            the reward itself. "auto" is "cfg" for values of such properties and "fk" otherwise. "fk" alone
            has weights that correct it.
        condition : object, optional
            Properties (of `y`) that draws have, as in `TokenDiffusion.sample`; a reward then tilts the model
            given these. Not with "cfg", which sets them.
        scaffold : str, optional
            SMILES to be decorated, with ``*`` at its attachment points. Its tokens are kept exactly; whether
            the molecules contain it is checked afterwards (see `scaffold_share` of the result).
        require_scaffold : bool, default False
            Draw until all molecules contain the scaffold; with "fk", those that do not have weight zero.
        only_valid : bool, default False
            Draw until all are molecules, which is the law given that. "fk" gives invalid strings weight zero
            in any case.
        nfe, solver
            As in `TokenDiffusion.sample`.
        particles : int, optional
            With "fk", how many rows are drawn and weighed, all of which are returned with
            `return_weights`; `n_samples` by default (without weights at least 32). More make draws better.
        guide : bool, default False
            With "fk", let the network of "cbg" lead the particles, and weigh them by the exact ratio of the
            laws of each step: the law is the same, the weights are more even.
        reward_every : int, optional
            With "fk", ask for the reward on the way every that many steps, 0 for never; by default about
            eight times.
        reward_draws : int, default 1
            With "fk", molecules drawn for a reward on the way, each particle.
        reward_takes : {"smiles", "molecules"}, default "smiles"
            What a function gets: canonical SMILES or RDKit molecules.
        on_reward_error : {"raise", "zero"}, default "raise"
            Where a function raises: name the molecule, or give it weight zero and go on.
        return_weights : bool, default False
            Return a `MoleculeSample`: all draws with weights, effective sample size, log normaliser and what
            their law is. Otherwise weighted draws are resampled to equal weights, with repetitions.
        as_molecules : bool, default False
            Return RDKit molecules, None where a string is none.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        list of str, list of RDKit molecules, or MoleculeSample
            SMILES as the model wrote them.

        Raises
        ------
        ValueError
            If the model cannot do what is asked, with the reason; if the reward fails for a molecule, which
            is named; if no valid draw is found, or all weights vanish.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", n_samples, low=1)
        weighted = check_boolean("return_weights", return_weights)
        seed = integer_seed(random_state)
        request = DrawRequest(
            count=count, reward=reward, scale=check_number("scale", scale), method=method,
            condition=condition, scaffold=scaffold, only_valid=check_boolean("only_valid", only_valid),
            require_scaffold=check_boolean("require_scaffold", require_scaffold), nfe=nfe, solver=solver,
            particles=particles, guide=check_boolean("guide", guide), reward_every=reward_every,
            reward_draws=check_integer("reward_draws", reward_draws, low=1), reward_takes=reward_takes,
            on_reward_error=on_reward_error, all_particles=weighted, seed=seed,
        )  # fmt: skip
        drawn = draw_molecules(self, request, self._scaffold_rows(scaffold, seed))
        if weighted:
            return drawn
        if drawn.log_normaliser is not None:
            drawn = drawn.resampled(seed, count)
        return drawn.molecules() if check_boolean("as_molecules", as_molecules) else drawn.smiles

    def infill(  # type: ignore[override]
        self,
        templates: str | Sequence[str],
        n_samples: int | None = None,
        *,
        condition: Any = None,
        guidance_scale: float = 1.0,
        nfe: int | None = None,
        solver: Any = None,
        as_molecules: bool = False,
        random_state: Any = None,
    ) -> Any:
        """Draw the tokens that templates leave open, given the others, which are kept exactly.

        Parameters
        ----------
        templates : str or sequence of str
            Strings of the representation with ``?`` for each open token, and ``...`` at the end where more
            may follow: ``"c1ccc(???)cc1"``, ``"CC(=O)N..."``, ``"[C][=O]?..."``.
        n_samples : int >= 1, optional
            Draws of each template; None for one.
        condition, guidance_scale, nfe, solver, random_state
            As in `TokenDiffusion.infill`.
        as_molecules : bool, default False
            Return RDKit molecules, None where a string is none.

        Returns
        -------
        str or list of str
            SMILES: one for a single template, a list for several; with `n_samples` a list of draws for a
            single template, and a list of such for several. Or as many RDKit molecules.
        """
        check_is_fitted(self)
        single = isinstance(templates, str)
        listed = [templates] if isinstance(templates, str) else list(templates)
        if not listed:
            raise ValueError("templates must hold at least one template, got none")
        read = [read_template(text, self._tokenizer) for text in listed]
        repeats = 1 if n_samples is None else check_integer("n_samples", n_samples, low=1)
        start = self._encode_templates(read)
        start = start.tiled(repeats)
        conditions = np.tile(self._condition_form_.encode(condition, len(listed)), (repeats, 1))
        # A string does not end before what is known of it.
        barred = ~start.given & (start.given[:, ::-1].cumsum(axis=1)[:, ::-1] > 0)
        plan = self._plan(conditions, guidance_scale, nfe, solver)
        tokens = self._drawn(start, barred, conditions, plan, random_state)
        found: list[Any] = self._smiles(tokens)
        if check_boolean("as_molecules", as_molecules):
            found = [parse_smiles(one) for one in found]
        if n_samples is None:
            return found[0] if single else found
        grouped = [found[place :: len(listed)] for place in range(len(listed))]
        return grouped[0] if single else grouped

    def _scaffold_rows(self, scaffold: str | None, seed: int) -> Any:
        """Return a function from a number of rows to rows that begin with the scaffold, or are open."""
        if scaffold is None:
            known = None
        else:
            known = read_scaffold(scaffold, self._tokenizer)
            shortest = known.templates(1, np.random.default_rng(0), 1)[0]
            shortest.check(self._alphabet_.symbols, self.max_length_)

        def rows(count: int, again: int = 0) -> EncodedTokens:
            if known is None:
                shape = (count, self.max_length_)
                return EncodedTokens(np.zeros(shape, np.int64), np.zeros(shape, bool))
            generator = np.random.default_rng([seed, _GAPS, again])
            room = self.max_length_ - sum(map(len, known.pieces))
            gaps = max(len(known.pieces) - 1, 1)
            templates = known.templates(count, generator, max(1, min(6, room // gaps)))
            return self._encode_templates(templates)

        return rows
