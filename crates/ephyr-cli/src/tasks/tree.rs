//! Formats tasks as a tree.

use std::collections::BTreeMap;

use ephyr_api::TaskSummary;
use ephyr_names::TaskId;

use crate::output::plain;

type Children<'a> = BTreeMap<Option<TaskId>, Vec<&'a TaskSummary<'a>>>;

/// Formats the tasks, each below its parent. A task whose parent is not in the list is a root.
pub(super) fn tree(tasks: &[TaskSummary<'_>]) -> String {
    let is_shown = |id: &TaskId| tasks.iter().any(|task| task.id == *id);
    let mut children = Children::new();
    for task in tasks {
        let parent = task.parent.filter(is_shown);
        children.entry(parent).or_default().push(task);
    }
    let mut drawn = String::new();
    for root in children.get(&None).into_iter().flatten() {
        drawn.push_str(&leaf(root));
        branches(root, &children, "", &mut drawn);
    }
    drawn
}

/// Formats the descendants of `above`; `left` is the prefix of each line.
fn branches(above: &TaskSummary<'_>, children: &Children<'_>, left: &str, drawn: &mut String) {
    let below = children.get(&Some(above.id));
    let below = below.map(Vec::as_slice).unwrap_or_default();
    for (at, task) in below.iter().enumerate() {
        let (own, beside) = if at + 1 == below.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        drawn.push_str(&format!("{left}{own}{}", leaf(task)));
        branches(task, children, &format!("{left}{beside}"), drawn);
    }
}

fn leaf(task: &TaskSummary<'_>) -> String {
    let state = if task.is_revoked { " revoked" } else { "" };
    format!(
        "{} {} {} s{state}  {}\n",
        task.id,
        task.agent,
        task.remaining_ttl,
        plain(&task.description),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tree_shows_each_task_below_its_parent() {
        let id = |last: char| format!("01ARZ3NDEKTSV4RRFFQ69G5FA{last}");
        let task = |last: char, parent: Option<char>| -> TaskSummary<'static> {
            let task = json!({
                "id": id(last), "parent": parent.map(id), "agent": "a", "remaining_ttl": 9, "description": "d",
                "is_revoked": last == 'C', "created_at": "2026-11-30T11:00:00Z",
                "expires_at": "2026-11-30T12:00:00Z", "holder_bound": false, "depth": 0, "root": id('A'),
            });
            serde_json::from_value(task).unwrap()
        };
        let tasks = [
            task('A', None),
            task('B', Some('A')),
            task('C', Some('B')),
            task('D', Some('A')),
            // Its parent is not among those shown.
            task('E', Some('Z')),
        ];
        let drawn = tree(&tasks).replace(&id('_')[..25], "");
        assert_eq!(
            drawn,
            "A a 9 s  d\n├─ B a 9 s  d\n│  └─ C a 9 s revoked  d\n└─ D a 9 s  d\nE a 9 s  d\n"
        );
    }
}
