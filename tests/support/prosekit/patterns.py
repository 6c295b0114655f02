"""Patterns of prose that readers cannot use, each with one string that it catches.

They follow the rules of the project: the field's own words, active voice, whole sentences without
aphorisms, "per" and not "a", no clauses that stand for nouns. A pattern is a regular expression
that is searched without regard to case.
"""

from typing import Final, NamedTuple


class Pattern(NamedTuple):
    """What is not written, and what is written in its place."""

    regex: str
    instead: str
    caught: str


PATTERNS: Final = (
    # Words of the field
    Pattern(r"\bcomes? again\b", "is redelivered", "the message comes again later"),
    Pattern(r"\b(?:postpone[ds]?|put off)\b", "release for redelivery", "messages are postponed"),
    Pattern(r"(?<!`)(?<!, )\bmend(?:s|ed|ing)?\b", "repair", "single ids are mended where"
        " they are"),
    Pattern(r"\bleads? to another index\b", "points to", "an alias leads to another index"),
    Pattern(r"\btak(?:e|es|en) back\b", "roll back", "the change is taken back"),
    Pattern(
        r"\b(?:was|were|are|is|been|be|not|has|have) taken\b",
        "accept",
        "nothing of this request was taken",
    ),
    Pattern(r"\bdid not take\b", "did not accept", "SQS did not take the events"),
    Pattern(r"\b(?:is|are|was|were) gone\b", "is deleted, dropped", "the tenant is gone"),
    Pattern(r"\b(?:that|which|must all) fits?\b", "match", "Write all events that fit"),
    Pattern(
        r"(?<!`)\bsettl(?:e|es|ed|ing)\b(?![`,])",
        "wait for propagation",
        "how long a rebuild settles",
    ),
    Pattern(r"\bstanding job", "recurring job", "a standing job recurs"),
    Pattern(r"\bhomeless\b", "missing index", "homeless events"),
    Pattern(r"\b(?<!dead[\s-])letters?\b(?! queue| or a digit)", "dead letter", "Show one letter"),
    Pattern(r"\bthe truth\b", "source of truth", "MongoDB is the truth"),
    Pattern(r"\bwho dies\b|\bdied\b", "crashed, was killed", "its owner died"),
    Pattern(r"\bbeside (?:the|an) index\b", "secondary index", "beside the index"),
    # Aphorisms and inversions
    Pattern(r"\bcame to nothing\b|\bcomes? to nothing\b", "was rejected", "lines came to nothing"),
    Pattern(r"(?<!there )\b(?:is|are) no (?!longer\b|more\b)[a-z]", "is not a", "it is no JSON"),
    Pattern(r"\bso (?:many|much|few|long|far)\b", "the number", "after so many seconds"),
    Pattern(r"; none:|: none\b(?!\.$)|\bthat is none\b", "says what happens", "an event that"
        " is none"),
    Pattern(r"\bfirst first\b", "oldest first", "List holds, those placed first first."),
    Pattern(r"\bfor good\b", "permanently", "Remove its events for good."),
    Pattern(r"\bat once\b", "immediately, concurrently", "Jobs that one process works on at once"),
    Pattern(r"\bhad back\b|\bbrings? (?:it )?back\b", "restore", "until when it can be had back"),
    Pattern(r"\bgoes? on\b|\bgo on\b", "continue", "the same command goes on"),
    Pattern(r"\bat hand\b|\bin hand\b", "available, held", "messages in hand"),
    Pattern(r"\bleft out\b", "if not set", "Left out: the platform's identity"),
    Pattern(r"\bbeyond (?:it|them|which)\b", "more requests get", "beyond it: 503"),
    Pattern(r"\bhow far it is\b", "progress", "tells how far it is"),
    # Clauses that stand for nouns
    Pattern(
        r"(?:^|[.:;] )What (?!time\b)[a-z]+[^?]*$",
        "name the thing",
        "What could not be stored or indexed",
    ),
    Pattern(r"\bwhat (?:fits|is gone|became of|is named|was written for)\b", "name it",
            "by what became of them"),
    Pattern(r"\bwhoever\b", "the client, the owner", "for whoever goes on"),
    Pattern(r"\bof (?:its|one's|their) own\b", "its own", "an id of its own"),
    Pattern(r", which is the limit", "The limit is …", "The event has over 9 keys, which is the"
    " limit"),
    Pattern(r"^(?:Who|Why) [a-z]+[^?]*$", "name the thing", "Who did it."),
    Pattern(r"\b(?:ones|strings|it) included\b", "including", "brackets, those in strings"
    " included"),
    Pattern(r"; if not set, \w+\.$", "If not set, …", "Days of retention; if not set, never."),
    Pattern(r"\bno longer accounted\b|\bnot accounted for\b", "unknown", "1 line not accounted"
    " for"),
    Pattern(r"\bcan't\b", "cannot", "the store can't be reached"),
    Pattern(
        r"\b(?:process|tenant|request|events|body|service|messages?|queues?|files?|index|range"
        r"|worker|api|export|answer|keys?|registry|collection|cursor|lines?|MongoDB|they|it|that"
        r"|which|cannot|never|already|still) (?:may |must |already |still |never )?holds?\b",
        "has, contains, uses; a hold is a legal hold",
        "A message holds 1 to 600 events.",
    ),
    Pattern(r"\b(?:seen|placed|made) first\b", "most recent first", "Dead letters, last seen"
    " first."),
    Pattern(r"\boutweighs?\b", "is larger than", "the framing outweighs the content"),
    Pattern(r"\bthere is no (?!longer\b|more\b)", "does not exist", "There is no function nope()."),
    Pattern(r"\bno other [a-z ]+ than\b", "supports only", "It supports no other version than 1."),
    Pattern(r"\b(?:nests?|nested) too deep\b", "is nested too deeply", "The event nests too deep."),
    Pattern(r"\b(?:has|have|of) another form\b", "is malformed", "the time has another form"),
    Pattern(r"\blies? (?:behind|more|ahead)\b", "is after", "the time lies behind the year 9999"),
    Pattern(r"\b(?:begins?|begun|starts?) anew\b", "starts again", "The rebuild begins anew."),
    Pattern(r"\b(?:was|were) [a-z]+ meanwhile\b", "has been", "The index was replaced meanwhile."),
    Pattern(r"\bhave not \d", "do not have", "ids that have not 16 bytes each"),
    Pattern(r"[a-z]\(s\)", "a plural", "takes 2 value(s)"),
    # Words that a colleague would not say
    Pattern(r"\bby (?:itself|themselves)\b", "automatically", "what the process does by itself"),
    Pattern(r"\bboth stores\b|\bthe stores?\b", "MongoDB and OpenSearch", "removes events from both"
        " stores"),
    Pattern(r"\bage limits?\b", "retention", "changes the age limit"),
    Pattern(r"\blooks? after\b", "processes, checks", "looks after the dead letter queues"),
    Pattern(r"\b(?:is|are) noticed\b", "name who detects it", "is noticed within a minute"),
    Pattern(
        r"\b(?:kept|moved|arrived|indexed|is|are) whole\b",
        "complete, unchanged",
        "it is kept whole in MongoDB",
    ),
    Pattern(r"\bby hand\b", "manually", "Disable the key by hand."),
    Pattern(r"\bcut off\b", "truncated, disconnected", "the file is cut off"),
    Pattern(r"\bcomes? back\b", "name who restores it", "the Secret comes back"),
    Pattern(r"\bputs? [^.]{1,40}\bback\b", "restore", "puts the earlier CRD back"),
    Pattern(r"\b(?:is|are) those of\b", "accepts the same filters as", "Filters are those of"
        " search."),
    Pattern(r"\b(?:is|are) [a-z]+ no more\b", "no longer", "the old one is written no more"),
    Pattern(r"\bis read until\b", "is accepted until", "its old name is read until 0.2"),
    Pattern(r"\banother time\b", "again later", "the same file another time"),
    Pattern(r"\bmint(?:s|ed|ing)?\b", "creates a token", "the command mints a token"),
    Pattern(
        r"\brefuses?\b|\b(?:is|are|was|were|be) refused\b|^refused\b",
        "reject",
        "Helm refuses other values.",
    ),
    Pattern(r"\b(?:is|are|was|were) given\b", "say who gives it", "If no token is given"),
    Pattern(r"\bno registry has\b", "not published in any registry", "no registry has published"
        " it"),
    # "per", not "a"
    Pattern(
        r"\b(?:object|event|column|call|request|key) an? (?:line|request|tenant|field|second)\b",
        "per",
        "one JSON object a line",
    ),
    # Python's names of types
    Pattern(r"\bgot `?(?:str|int|dict|list|bool|float)\b", "JSON's types", "Expected object,"
        " got str"),
    Pattern(r"<(?:str|int|list\[[^>]*|[a-z]+ range)>", "a metavar", "--tenant <str>"),
)  # fmt: skip
