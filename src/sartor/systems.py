"""The table of what is here: published systems with a card and a claim check, and the baselines they are measured against."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from sartor.errors import ConfigError, MissingExtra, UnknownId

Kind = Literal["method", "part", "suite", "baseline"]


@dataclass(frozen=True)
class System:
    """One published system: what it is, where it comes from, and the code that is it."""

    slug: str
    title: str
    authors: str
    year: int
    venue: str
    room: str
    kind: Kind
    target: str
    """module:name of the class or function that is it."""
    extra: str | None = None
    """The optional dependencies it needs."""

    @property
    def has_claim(self) -> bool:
        """Whether it is a system of the table, with a claim check, rather than a baseline."""
        return self.kind != "baseline"

    def resolve(self) -> Any:
        """Import the class or function; raises `MissingExtra` when what it needs is not installed."""
        module, _, name = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError as missing:
            if self.extra and missing.name and not missing.name.startswith("sartor"):
                raise MissingExtra(missing.name, self.extra) from missing
            raise

    def citation(self) -> str:
        """A BibTeX entry."""
        fields = {"title": self.title, "author": self.authors, "year": str(self.year), "booktitle": self.venue}
        body = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items())
        return f"@inproceedings{{{self.slug},\n{body}\n}}"


def _base(slug: str, title: str, authors: str, year: int, venue: str, name: str, extra: str | None = None) -> System:
    return System(slug, title, authors, year, venue, "recommend", "baseline", f"sartor.recommend.{slug.replace('-', '_')}:{name}", extra)


_TABLE = (
    # --- recommend: the strong baselines
    _base("popularity", "Popularity", "folklore", 1990, "-", "Popularity"),
    _base("attribute-popularity", "Naive Bayes popularity given a person's attributes", "Cestnik; Pazzani", 1999, "AI Review", "AttributePopularity"),
    _base("item-knn", "Item-based top-N recommendation algorithms", "Deshpande and Karypis", 2004, "ACM TOIS", "ItemKNN"),
    _base("ease", "Embarrassingly Shallow Autoencoders for Sparse Data", "Steck", 2019, "WWW", "EASE"),
    _base("als", "Collaborative Filtering for Implicit Feedback Datasets", "Hu, Koren and Volinsky", 2008, "ICDM", "ALS"),
    _base("bpr", "BPR: Bayesian Personalized Ranking from Implicit Feedback", "Rendle et al.", 2009, "UAI", "BPR"),
    _base("lightgcn", "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", "He et al.", 2020, "SIGIR", "LightGCN", "deep"),
    _base("two-tower", "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", "Yi et al.", 2019, "RecSys", "TwoTower", "deep"),
    _base("sasrec", "Self-Attentive Sequential Recommendation", "Kang and McAuley", 2018, "ICDM", "SASRec", "deep"),
    _base("gru4rec", "Session-based Recommendations with Recurrent Neural Networks", "Hidasi et al.", 2016, "ICLR", "GRU4Rec", "deep"),
    System("text-profile", "Content-Based Recommendation Systems", "Pazzani and Billsus", 2007, "The Adaptive Web",
           "recommend", "baseline", "sartor.recommend.text_profile:TextProfile"),
    System("personal-search", "Personalizing Search via Automated Analysis of Interests and Activities", "Teevan, Dumais and Horvitz", 2005, "SIGIR",
           "retrieve", "baseline", "sartor.recommend.personal_search:PersonalSearch"),
    # --- write: the plain ways that others must beat
    System("population-lm", "Llama: Open and efficient foundation language models", "Touvron et al.", 2023, "arXiv",
           "write", "baseline", "sartor.write.population_lm:PopulationLM", "write"),
    System("in-context", "Language models are few-shot learners", "Brown et al.", 2020, "NeurIPS",
           "write", "baseline", "sartor.write.in_context:InContext", "write"),
    System("personal-lora", "LoRA: Low-rank adaptation of large language models", "Hu et al.", 2022, "ICLR",
           "write", "baseline", "sartor.write.personal_lora:PersonalLora", "write"),
    # --- draw: the baselines
    System("textual-inversion", "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion", "Gal et al.", 2023, "ICLR",
           "draw", "baseline", "sartor.draw.textual_inversion:TextualInversion", "draw"),
    System("dreambooth", "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation", "Ruiz et al.", 2023, "CVPR",
           "draw", "method", "sartor.draw.dreambooth:DreamBooth", "draw"),
    System("custom-diffusion", "Multi-Concept Customization of Text-to-Image Diffusion", "Kumari et al.", 2023, "CVPR",
           "draw", "baseline", "sartor.draw.custom_diffusion:CustomDiffusion", "draw"),
    # --- recognize: the baseline
    System("nearest-centroid", "Prototypical Networks for Few-shot Learning", "Snell, Swersky and Zemel", 2017, "NeurIPS",
           "recognize", "baseline", "sartor.recognize.nearest_centroid:NearestCentroid", "recognize"),
    # --- systems with a claim
    System("rec-eval-suite", "A Comprehensive Survey of Evaluation Techniques for Recommendation Systems", "Jadon and Patil", 2023, "arXiv",
           "evaluate", "suite", "sartor.evaluate.report:report"),
    System("alpharec", "Language Representations Can be What Recommenders Need: Findings and Potentials", "Sheng et al.", 2024, "ICLR 2025",
           "recommend", "method", "sartor.recommend.alpharec:AlphaRec", "deep"),
    System("knn-embed", "kNN-Embed: Locally Smoothed Embedding Mixtures for Multi-interest Candidate Retrieval", "El-Kishky et al.", 2022, "arXiv",
           "recommend", "method", "sartor.recommend.knn_embed:KNNEmbed"),
    System("nbpo", "Sampler Design for Implicit Feedback Data by Noisy-label Robust Learning", "Yu and Qin", 2020, "SIGIR",
           "recommend", "method", "sartor.recommend.nbpo:NBPO", "deep"),
    System("pld", "Personalized Denoising Implicit Feedback for Robust Recommender System", "Zhang et al.", 2025, "WWW",
           "recommend", "part", "sartor.recommend.pld:PLD", "deep"),
    System("unified-embedding", "Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems", "Coleman et al.", 2023, "NeurIPS",
           "recommend", "part", "sartor.recommend.unified_embedding:UnifiedEmbedding", "deep"),
    System("graphhash", "GraphHash: Graph Clustering Enables Parameter Efficiency in Recommender Systems", "Wu et al.", 2024, "WWW 2025",
           "recommend", "method", "sartor.recommend.graphhash:GraphHash", "deep"),
    System("matrix-completion-am", "Low Rank Matrix Completion via Robust Alternating Minimization in Nearly Linear Time", "Gu et al.", 2023, "ICLR 2024",
           "recommend", "method", "sartor.recommend.matrix_completion:MatrixCompletion"),
    System("m2trec", "M2TRec: Metadata-aware Multi-task Transformer for Large-scale and Cold-start free Session-based Recommendations", "Shalaby et al.", 2022, "RecSys",
           "recommend", "method", "sartor.recommend.m2trec:M2TRec", "deep"),
    System("ssl-item", "Self-supervised Learning for Large-scale Item Recommendations", "Yao et al.", 2020, "CIKM 2021",
           "recommend", "method", "sartor.recommend.ssl_item:SSLTwoTower", "deep"),
    System("fanns", "Benchmarking Filtered Approximate Nearest Neighbor Search on Transformer-based Embedding Vectors", "Iff et al.", 2025, "arXiv",
           "retrieve", "part", "sartor.retrieve.planner:PlannedIndex"),
    System("leanvec", "LeanVec: Searching Vectors Faster by Making Them Fit", "Tepper et al.", 2023, "TMLR 2024",
           "retrieve", "method", "sartor.retrieve.leanvec:LeanVecIndex"),
    System("sesa", "SESA: Supervised Explicit Semantic Analysis", "Bogdanova and Yazdani", 2017, "arXiv",
           "represent", "method", "sartor.recommend.sesa:SESA", "deep"),
    System("vacancysbert", "VacancySBERT: the approach for representation of titles and skills for semantic similarity search in the recruitment domain",
           "Bocharova, Malakhov and Mezhuyev", 2023, "Applied Aspects of Information Technology",
           "represent", "method", "sartor.represent.vacancysbert:VacancySBERT", "deep"),
    System("beir-resources", "Resources for Brewing BEIR: Reproducible Reference Models and an Official Leaderboard", "Kamalloo et al.", 2023, "SIGIR 2024",
           "evaluate", "suite", "sartor.evaluate.leaderboard:Leaderboard"),
    System("perseval", "PerSEval: Assessing Personalization in Text Summarizers", "Dasgupta et al.", 2024, "TMLR",
           "evaluate", "suite", "sartor.evaluate.perseval:perseval"),
    System("personalized-judge", "Can LLM be a Personalized Judge?", "Dong, Hu and Collier", 2024, "Findings of EMNLP",
           "evaluate", "method", "sartor.evaluate.judge:PersonalizedJudge"),
    System("universalpersona", "Are Personalized Stochastic Parrots More Dangerous? Evaluating Persona Biases in Dialogue Systems", "Wan et al.", 2023,
           "Findings of EMNLP", "evaluate", "suite", "sartor.evaluate.audit:harm_audit"),
    System("bias-runs-deep", "Bias Runs Deep: Implicit Reasoning Biases in Persona-Assigned LLMs", "Gupta et al.", 2023, "ICLR 2024",
           "evaluate", "suite", "sartor.evaluate.audit:reasoning_audit"),
    System("likebench", "LikeBench: Evaluating Subjective Likability in LLMs for Personalization", "Rahman et al.", 2025, "arXiv",
           "evaluate", "suite", "sartor.evaluate.likebench:likebench"),
    System("memento", "Embodied Agents Meet Personalization: Exploring Memory Utilization for Personalized Assistance", "Kwon et al.", 2025, "arXiv",
           "evaluate", "suite", "sartor.evaluate.memento:memento"),
    System("boot-amg", "Extending Bootstrap AMG for Clustering of Attributed Graphs", "D'Ambra et al.", 2021, "Applied Mathematics and Computation 2023",
           "represent", "part", "sartor.represent.boot_amg:BootAMG"),
    System("ila-sdp", "Likelihood Adjusted Semidefinite Programs for Clustering Heterogeneous Data", "Zhuang, Chen and Yang", 2023, "ICML",
           "represent", "part", "sartor.represent.ila_sdp:ILASDP"),
    System("irwe", "IRWE: Inductive Random Walk for Joint Inference of Identity and Position Network Embedding", "Qin and Yeung", 2024, "arXiv",
           "represent", "part", "sartor.represent.irwe:IRWE", "deep"),
    System("powerwalk", "PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric Decomposition", "Liu et al.", 2016, "CIKM",
           "retrieve", "method", "sartor.recommend.powerwalk:PowerWalkRecommender"),
    System("fastrp", "Fast and Accurate Network Embeddings via Very Sparse Random Projection", "Chen et al.", 2019, "CIKM",
           "retrieve", "method", "sartor.recommend.fastrp:FastRPRecommender"),
    System("muvera", "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", "Dhulipala et al.", 2024, "NeurIPS",
           "retrieve", "part", "sartor.retrieve.muvera:MuveraIndex"),
    System("anncur", "Efficient Nearest Neighbor Search for Cross-Encoder Models using Matrix Factorization", "Yadav et al.", 2022, "EMNLP",
           "retrieve", "part", "sartor.retrieve.anncur:ANNCUR"),
    System("mse2d", "2D Matryoshka Sentence Embeddings", "Li et al.", 2024, "arXiv",
           "represent", "method", "sartor.represent.mse2d:MSE2D", "deep"),
    System("vecrep-text", "Vector representations of text data in deep learning", "Grzegorczyk", 2019, "dissertation",
           "represent", "method", "sartor.represent.binary_paragraphs:BinaryParagraphs", "deep"),
    System("moe-embed", "Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings", "Hallee et al.", 2024, "arXiv",
           "represent", "method", "sartor.represent.moe_embed:MoEEmbed", "deep"),
    System("prefeval", "Do LLMs Recognize Your Preferences? Evaluating Personalized Preference Following in LLMs", "Zhao et al.", 2025, "ICLR",
           "write", "suite", "sartor.write.prefeval:PrefEval"),
    System("k-lamp", "Knowledge-Augmented Large Language Models for Personalized Contextual Query Suggestion", "Baek et al.", 2023, "WWW 2024",
           "write", "method", "sartor.write.k_lamp:KLaMP"),
    System("rpm", "LLMs Think, But Not In Your Flow: Reasoning-Level Personalization for Black-Box Large Language Models", "Kim et al.", 2025,
           "ICLR 2026", "write", "method", "sartor.write.rpm:RPM", "deep"),
    System("pplug", "LLMs + Persona-Plug = Personalized LLMs", "Liu et al.", 2024, "arXiv",
           "write", "method", "sartor.write.pplug:PPlug", "write"),
    System("vas", "Value Augmented Sampling for Language Model Alignment and Personalization", "Han et al.", 2024, "arXiv",
           "write", "method", "sartor.write.vas:VAS", "write"),
    System("fspo", "FSPO: Few-Shot Preference Optimization of Synthetic Preference Data in LLMs Elicits Effective Personalization to Real Users",
           "Singh et al.", 2025, "arXiv", "write", "method", "sartor.write.fspo:FSPO", "write"),
    System("dhap", "One Chatbot Per Person: Creating Personalized Chatbots based on Implicit User Profiles", "Ma et al.", 2021, "SIGIR",
           "write", "method", "sartor.write.dhap:DHAP", "write"),
    System("personaldialog", "Personalized Dialogue Generation with Diversified Traits", "Zheng et al.", 2019, "arXiv",
           "write", "method", "sartor.write.personaldialog:PersonalDialog", "write"),
    System("summary-retrieval", "Integrating Summarization and Retrieval for Enhanced Personalization via Large Language Models",
           "Richardson et al.", 2023, "arXiv", "write", "method", "sartor.write.summary_retrieval:SummaryRetrieval", "write"),
    System("personal-code", "Exploring and Evaluating Personalized Models for Code Generation", "Zlotchevski et al.", 2022, "ESEC/FSE",
           "write", "method", "sartor.write.personal_code:PersonalCode", "write"),
    System("miracle", "MIRACLE: Towards Personalized Dialogue Generation with Latent-Space Multiple Personal Attribute Control", "Lu et al.", 2023,
           "EMNLP", "write", "method", "sartor.write.miracle:Miracle", "write"),
    System("unims-rag", "UniMS-RAG: A Unified Multi-source Retrieval-Augmented Generation for Personalized Dialogue Systems", "Wang et al.", 2024,
           "arXiv", "write", "method", "sartor.write.unims_rag:UniMSRAG", "write"),
    # --- federate: baselines and methods
    System("local", "Every client learns alone", "folklore", 2017, "-", "federate", "baseline", "sartor.federate.local:Local", "deep"),
    System("fedavg", "Communication-Efficient Learning of Deep Networks from Decentralized Data", "McMahan et al.", 2017, "AISTATS",
           "federate", "baseline", "sartor.federate.fedavg:FedAvg", "deep"),
    System("fedper", "Federated Learning with Personalization Layers", "Arivazhagan et al.", 2019, "arXiv",
           "federate", "baseline", "sartor.federate.fedper:FedPer", "deep"),
    System("pooled", "One model of everybody's examples", "folklore", 2017, "-", "federate", "baseline", "sartor.federate.pooled:Pooled", "deep"),
    System("fedcac", "Bold but Cautious: Unlocking the Potential of Personalized Federated Learning through Cautiously Aggressive Collaboration",
           "Wu et al.", 2023, "ICCV", "federate", "method", "sartor.federate.fedcac:FedCAC", "deep"),
    System("fedcluster", "Adaptive Personlization in Federated Learning for Highly Non-i.i.d. Data", "Yeganeh et al.", 2022, "arXiv",
           "federate", "method", "sartor.federate.fedcluster:FedCluster", "deep"),
    System("fedpub", "Personalized Subgraph Federated Learning", "Baek et al.", 2023, "ICML",
           "federate", "method", "sartor.federate.fedpub:FedPub", "deep"),
    System("pfedgate", "Efficient Personalized Federated Learning via Sparse Model-Adaptation", "Chen et al.", 2023, "ICML",
           "federate", "method", "sartor.federate.pfedgate:PFedGate", "deep"),
    System("pfedpg", "Efficient Model Personalization in Federated Learning via Client-Specific Prompt Generation", "Yang, Wang and Wang", 2023, "ICCV",
           "federate", "method", "sartor.federate.pfedpg:PFedPG", "deep"),
    System("semipfl", "SemiPFL: Personalized Semi-Supervised Federated Learning Framework for Edge Intelligence", "Tashakori et al.", 2023, "IEEE IoT J",
           "federate", "method", "sartor.federate.semipfl:SemiPFL", "deep"),
    System("fedd2s", "FedD2S: Personalized Data-Free Federated Knowledge Distillation", "Atapour et al.", 2024, "arXiv",
           "federate", "method", "sartor.federate.fedd2s:FedD2S", "deep"),
    # --- decide
    System("zone-of-tolerance", "Big-Data-Driven and AI-Based Framework to Enable Personalization in Wireless Networks", "Alkurd et al.", 2020,
           "IEEE Communications Magazine", "decide", "method", "sartor.decide.zone_of_tolerance:ZoneOfTolerance"),
    System("wireless-allocation", "Personalized Resource Allocation in Wireless Networks: An AI-Enabled and Big Data-Driven Multi-Objective Optimization",
           "Alkurd et al.", 2020, "IEEE Access", "decide", "method", "sartor.decide.wireless_allocation:WirelessAllocation"),
    System("twin-control", "Control of Medical Digital Twins with Artificial Neural Networks", "Böttcher et al.", 2024, "arXiv", "decide", "method",
           "sartor.decide.twin_control:TwinControl", "deep"),
    # --- recognize
    System("isr", "Identity-Seeking Self-Supervised Representation Learning for Generalizable Person Re-identification", "Dou et al.", 2023, "ICCV",
           "recognize", "method", "sartor.recognize.isr:ISR", "recognize"),
    System("faim", "Clothes-Changing Person Re-identification with Feasibility-Aware Intermediary Matching", "Zhao et al.", 2024, "arXiv",
           "recognize", "method", "sartor.recognize.faim:FAIM", "recognize"),
    System("pose2id", "From Poses to Identity: Training-Free Person Re-Identification via Feature Centralization", "Yuan et al.", 2025, "CVPR",
           "recognize", "method", "sartor.recognize.pose2id:Pose2ID", "recognize"),
    System("brain-id", "Brain-ID: Learning Contrast-agnostic Anatomical Representations for Brain Imaging", "Liu et al.", 2024, "ECCV",
           "recognize", "method", "sartor.recognize.brain_id:BrainID", "recognize"),
    System("snp", "Large-scale Training Data Search for Object Re-identification", "Yao et al.", 2023, "CVPR", "recognize", "method",
           "sartor.recognize.snp:SnP", "recognize"),
    System("last", "Large-Scale Spatio-Temporal Person Re-identification: Algorithms and Benchmark", "Shu et al.", 2021, "IEEE TCSVT 2022", "recognize",
           "suite", "sartor.evaluate.last:LaST", "recognize"),
    System("docxpand", "DocXPand-25k: a large and diverse benchmark dataset for identity documents analysis", "Lerouge et al.", 2024, "arXiv", "recognize",
           "suite", "sartor.evaluate.docxpand:DocXPand", "recognize"),
    System("perfusion", "Key-Locked Rank One Editing for Text-to-Image Personalization", "Tewel et al.", 2023, "SIGGRAPH",
           "draw", "method", "sartor.draw.perfusion:Perfusion", "draw"),
    System("alignit", "AlignIT: Enhancing Prompt Alignment in Customization of Text-to-Image Models", "Agarwal et al.", 2024, "WACV 2025",
           "draw", "method", "sartor.draw.alignit:AlignIT", "draw"),
    System("classdiffusion", "ClassDiffusion: More Aligned Personalization Tuning with Explicit Class Guidance", "Huang et al.", 2024, "ICLR 2025",
           "draw", "method", "sartor.draw.classdiffusion:ClassDiffusion", "draw"),
    System("break-a-scene", "Break-A-Scene: Extracting Multiple Concepts from a Single Image", "Avrahami et al.", 2023, "SIGGRAPH Asia",
           "draw", "method", "sartor.draw.break_a_scene:BreakAScene", "draw"),
    System("disendiff", "Attention Calibration for Disentangled Text-to-Image Personalization", "Zhang et al.", 2024, "CVPR",
           "draw", "method", "sartor.draw.disendiff:DisenDiff", "draw"),
    System("cross-init", "Cross Initialization for Personalized Text-to-Image Generation", "Pang et al.", 2023, "CVPR 2024",
           "draw", "method", "sartor.draw.cross_init:CrossInit", "draw"),
    System("neti", "A Neural Space-Time Representation for Text-to-Image Personalization", "Alaluf et al.", 2023, "SIGGRAPH Asia",
           "draw", "method", "sartor.draw.neti:NeTI", "draw"),
    System("prospect", "ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models", "Zhang et al.", 2023, "ACM TOG",
           "draw", "method", "sartor.draw.prospect:ProSpect", "draw"),
    System("core", "CoRe: Context-Regularized Text Embedding Learning for Text-to-Image Personalization", "Wu et al.", 2024, "AAAI 2025",
           "draw", "method", "sartor.draw.core:CoRe", "draw"),
    System("ppd", "Personalized Preference Fine-tuning of Diffusion Models", "Dang et al.", 2025, "CVPR",
           "draw", "method", "sartor.draw.ppd:PPD", "draw"),
    System("break-for-make", "B4M: Breaking Low-Rank Adapter for Making Content-Style Customization", "Xu et al.", 2024, "ACM TOG 2025",
           "draw", "method", "sartor.draw.break_for_make:BreakForMake", "draw"),
    System("hm-cfg", "Finetuning-Free Personalization of Text to Image Generation via Hypernetworks", "Shrestha et al.", 2025, "arXiv",
           "draw", "method", "sartor.draw.hm_cfg:HMCFG", "draw"),
    System("zoodip", "Efficient Personalization of Quantized Diffusion Model without Backpropagation", "Seo et al.", 2025, "CVPR",
           "draw", "method", "sartor.draw.zoodip:ZOODiP", "draw"),
    System("iti-gen", "ITI-GEN: Inclusive Text-to-Image Generation", "Zhang et al.", 2023, "ICCV",
           "draw", "method", "sartor.draw.iti_gen:ITIGen", "draw"),
    System("decade-survey", "Personalized Image Generation with Deep Generative Models: A Decade Survey", "Wei et al.", 2025,
           "Computational Visual Media", "draw", "suite", "sartor.draw.survey:survey", "draw"),
    System("ip-adapter", "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion Models", "Ye et al.", 2023, "arXiv",
           "draw", "baseline", "sartor.draw.ip_adapter:IPAdapter", "draw"),
    System("mip-adapter", "Resolving Multi-Condition Confusion for Finetuning-Free Personalized Image Generation", "Huang et al.", 2024, "AAAI 2025",
           "draw", "method", "sartor.draw.mip_adapter:MIPAdapter", "draw"),
    System("jedi", "JeDi: Joint-Image Diffusion Models for Finetuning-Free Personalized Text-to-Image Generation", "Zeng et al.", 2024, "CVPR",
           "draw", "method", "sartor.draw.jedi:JeDi", "draw"),
    System("lambda-eclipse", "lambda-ECLIPSE: Multi-Concept Personalized Text-to-Image Diffusion Models by Leveraging CLIP Latent Space", "Patel et al.",
           2024, "TMLR", "draw", "method", "sartor.draw.lambda_eclipse:LambdaEclipse", "draw"),
    System("gen4gen", "Gen4Gen: Generative Data Pipeline for Generative Multi-Concept Composition", "Yeh et al.", 2024, "BMVC 2025",
           "draw", "suite", "sartor.draw.gen4gen:compose", "draw"),
)  # fmt: skip

SYSTEMS: dict[str, System] = {system.slug: system for system in _TABLE}


def find(slug: str) -> System:
    """One system by slug; raises `UnknownId` with near misses."""
    import difflib

    name = slug.lower().replace("_", "-")
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name, SYSTEMS, n=3)
        raise UnknownId("there is no such method", id=slug, fix=f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def make(slug: str, **settings: Any) -> Any:
    """A method by its slug, with settings: `make("als", factors=64)`."""
    from dataclasses import fields, is_dataclass

    system = find(slug)
    kind = system.resolve()
    if is_dataclass(kind):
        known = [f.name for f in fields(kind) if f.init]
        if unknown := sorted(set(settings) - set(known)):
            raise ConfigError(f"{slug} has no setting {unknown}", fix=f"it has {', '.join(known)}")
    return kind(**settings)
