//! Messages for files that are not valid YAML.

use std::borrow::Cow;

use granit_parser::ErrorKind;

pub(super) const ANCHORS: &str = "anchors and aliases (`&`, `*`) are not allowed; use `templates` and \
    `inherits`, and put `\"*\"` in quotes where it means all";
pub(super) const DOCUMENTS: &str =
    "a policy is one YAML document; remove `---` and the text after it";
pub(super) const LIMIT: &str =
    "nested too deeply, or too many keys and values; simplify the policy";
pub(super) const KEY: &str = "a key must be a single word, not a list or a mapping; text that begins with \
    `[` or `{` must be in quotes";
pub(super) const BROKEN: &str = "this is not valid YAML; check this line and the one before";

/// Returns the code and the message for an error of the YAML parser.
pub(super) fn parser_error(kind: &ErrorKind) -> (&'static str, Cow<'static, str>) {
    use ErrorKind as E;
    let message: &'static str = match kind {
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
            let message = "tags (`!…`) are not allowed; write the plain value, in quotes if it begins with `!`";
            return ("E-YAML-TAG", message.into());
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
        | E::TabInPlainScalar => "tab where YAML allows only spaces; indent with spaces",
        E::DirectiveDisallowed
        | E::DuplicateVersionDirective
        | E::DuplicateTagDirective
        | E::UnsupportedYamlMajorVersion
        | E::InvalidDirectiveName
        | E::MissingDirectiveName => "YAML directives (`%…`) are not allowed; remove the line",
        E::BomInsideDocument => "byte-order mark inside the file; remove this invisible character",
        E::ExpectedFlowMappingSeparator | E::ExpectedFlowSequenceSeparator => {
            "a `,` or the closing `]` or `}` is missing before this; add it"
        }
        E::UnexpectedEofFlowSequence
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofImplicitFlowMapping
        | E::UnclosedFlowCollection { .. } => "a `[` or `{` is not closed; add its `]` or `}`",
        E::MisplacedFlowCollectionEnd | E::MismatchedFlowCollectionEnd { .. } => {
            "this `]` or `}` has no matching opening bracket; add or remove one"
        }
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => {
            "a quoted text is not closed; add the closing quote"
        }
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            "text follows the closing quote; put the whole value in quotes"
        }
        E::UnknownQuotedScalarEscape
        | E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate
        | E::InvalidUnicodeEscape => {
            "unknown escape after `\\` in double quotes; use single quotes, or write `\\\\`"
        }
        E::UnexpectedCharacter { character } => {
            let found = character.escape_default();
            let message = format!("a value cannot begin with `{found}`; put it in quotes");
            return ("E-YAML-SYNTAX", message.into());
        }
        E::MappingValueNotAllowed | E::InvalidColonPlacement | E::InvalidMappingValueWhitespace => {
            "a key is not allowed here; put a value that contains `: ` in quotes, and compare the indentation \
             with the lines before"
        }
        E::ExpectedBlockMappingKey
        | E::ExpectedBlockSequenceEntry
        | E::InvalidIndentation
        | E::BlockSequenceEntryNotAllowed
        | E::BlockEntryInFlowCollection
        | E::MappingKeyNotAllowed
        | E::InvalidQuotedScalarIndent
        | E::InvalidFlowScalarIndent => {
            "this line does not match the lines before it; compare the indentation, and check that each line has its \
             `- ` or its key"
        }
        E::SimpleKeyExpected | E::InvalidSimpleKey => {
            "this is neither a key with `: ` nor part of a value; add the `: `, or put the text in quotes"
        }
        E::CommentNotSeparated | E::CommentInterceptedScalar => {
            "comment in the middle of a value; put a space before `#`, or the value in quotes"
        }
        _ => BROKEN,
    };
    ("E-YAML-SYNTAX", message.into())
}

/// Returns the byte index of the first character that editors do not show, and a message. A lone carriage return ends
/// a line in YAML but not in most editors, which would show the text after it as part of a comment.
pub(super) fn unprintable(text: &str) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let (index, found) = text.char_indices().find(|(index, c)| match c {
        '\n' | '\t' => false,
        '\r' => bytes.get(index + 1) != Some(&b'\n'),
        '\u{feff}' => *index > 0,
        c => c.is_control(),
    })?;
    let message = match found {
        '\r' => "carriage return without a line feed, which most editors do not show as a line end; save the file \
                 with Unix line ends"
            .to_owned(),
        '\u{feff}' => {
            "byte-order mark inside the file; remove this invisible character".to_owned()
        }
        found => format!(
            "the file has the control character U+{:04X}; remove it",
            u32::from(found)
        ),
    };
    Some((index, message))
}
