//! What is said of a file that cannot be read as YAML.

use std::borrow::Cow;

use granit_parser::ErrorKind;

pub(super) const ANCHORS: &str = "anchors and aliases (`&`, `*`) are not allowed; use `templates` and \
    `inherits`, and put `\"*\"` in quotes where it means everything";
pub(super) const DOCUMENTS: &str = "a policy is one YAML document; remove `---` and what follows";
pub(super) const LIMIT: &str = "nested or repeated beyond what a policy needs; make it simpler";
pub(super) const KEY: &str = "a key must be a single word, not a list or a mapping; text that begins with \
    `[` or `{` must stand in quotes";
pub(super) const BROKEN: &str =
    "the file cannot be read as YAML here; look at this line and the one before";

/// The code and the words for an error of the YAML parser.
pub(super) fn of(kind: &ErrorKind) -> (&'static str, Cow<'static, str>) {
    use ErrorKind as E;
    let said: &'static str = match kind {
        E::UndeclaredTagHandle
        | E::ExpectedTagBang
        | E::InvalidGlobalTagCharacter
        | E::InvalidTagTerminator
        | E::MissingTagUri
        | E::UnclosedVerbatimTag
        | E::InvalidTagEscape
        | E::InvalidTagUtf8LeadingByte
        | E::InvalidTagUtf8TrailingByte
        | E::InvalidTagUtf8 => {
            let said = "tags (`!…`) are not allowed; write the plain value, in quotes if it begins with `!`";
            return ("E-YAML-TAG", said.into());
        }
        E::UnknownAnchor | E::MissingAnchorOrAliasName | E::AnchorCountOverflow => {
            return ("E-YAML-ANCHOR", ANCHORS.into());
        }
        E::InvalidDocumentEnd
        | E::MultipleDocumentsUnsupported
        | E::ExpectedDocumentStart
        | E::MissingDocumentEndBeforeDirective => return ("E-YAML-DOCUMENTS", DOCUMENTS.into()),
        E::RecursionLimitExceeded => return ("E-YAML-LIMIT", LIMIT.into()),
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabAtBlockScalarStart
        | E::TabInIndentation
        | E::TabInPlainScalar => "a tab stands where YAML takes only spaces; indent with spaces",
        E::DirectiveDisallowed
        | E::DuplicateVersionDirective
        | E::DuplicateTagDirective
        | E::UnsupportedYamlMajorVersion
        | E::InvalidDirectiveName
        | E::MissingDirectiveName => "YAML directives (`%…`) are not allowed; remove the line",
        E::BomInsideDocument => {
            "a byte-order mark stands within the file; remove that invisible character"
        }
        E::ExpectedFlowMappingSeparator | E::ExpectedFlowSequenceSeparator => {
            "before this a `,` is missing, or the closing `]` or `}`"
        }
        E::UnexpectedEofFlowSequence
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofImplicitFlowMapping
        | E::UnclosedFlowCollection { .. } => "a `[` or `{` is not closed; add its `]` or `}`",
        E::MisplacedFlowCollectionEnd | E::MismatchedFlowCollectionEnd { .. } => {
            "this `]` or `}` closes nothing that is open; look for the bracket that it belongs to"
        }
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => {
            "a text in quotes is not closed; add the closing quote"
        }
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            "something follows the closing quote; put the whole value in quotes"
        }
        E::UnknownQuotedScalarEscape
        | E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate
        | E::InvalidUnicodeEscape => {
            "`\\` and what follows mean nothing within double quotes; use single quotes, or write `\\\\`"
        }
        E::UnexpectedCharacter { character } => {
            let found = character.escape_default();
            let said = format!("no value can begin with `{found}`; put it in quotes");
            return ("E-YAML-SYNTAX", said.into());
        }
        E::MappingValueNotAllowed | E::InvalidColonPlacement | E::InvalidMappingValueWhitespace => {
            "no key can stand here; put a value with `: ` in it in quotes, and compare the indentation with \
             the lines before"
        }
        E::ExpectedBlockMappingKey
        | E::ExpectedBlockSequenceEntry
        | E::InvalidIndentation
        | E::BlockSequenceEntryNotAllowed
        | E::BlockEntryInFlowCollection
        | E::MappingKeyNotAllowed
        | E::InvalidQuotedScalarIndent
        | E::InvalidFlowScalarIndent => {
            "the line does not fit those before it; compare the indentation, and whether each has its `- ` or \
             its key"
        }
        E::SimpleKeyExpected | E::InvalidSimpleKey => {
            "this is neither a key with `: ` nor part of a value; add the `: `, or put the text in quotes"
        }
        E::CommentNotSeparated | E::CommentInterceptedScalar => {
            "a comment stands in the middle of a value; put a space before `#`, or the value in quotes"
        }
        _ => BROKEN,
    };
    ("E-YAML-SYNTAX", said.into())
}

/// Where the text has a character that an editor would not show, and what is said of it. A carriage return alone ends a line to YAML, but not to most editors, which
/// would show what follows it as part of a comment.
pub(super) fn unprintable(text: &str) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let (index, found) = text.char_indices().find(|(index, c)| match c {
        '\n' | '\t' => false,
        '\r' => bytes.get(index + 1) != Some(&b'\n'),
        '\u{feff}' => *index > 0,
        c => c.is_control(),
    })?;
    let message = match found {
        '\r' => "a carriage return without a line feed ends a line that most editors do not show to end; save \
                 the file with Unix line ends"
            .to_owned(),
        '\u{feff}' => {
            "a byte-order mark stands within the file; remove that invisible character".to_owned()
        }
        found => format!(
            "the file has the control character U+{:04X}; remove it",
            u32::from(found)
        ),
    };
    Some((index, message))
}
