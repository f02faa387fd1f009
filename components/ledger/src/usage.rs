//! Usage goes out: `GET /v1/organization/usage/completions`, in OpenAI's buckets.
//!
//! It stands behind the door. It does not know prices, nor anything of another organisation.

use records::{Database, DatabaseError, Row, Value};
use regional::query::Query;
use regional::{Answer, ApiError, Principal, Role};
use serde_json::{Value as Json, json};

/// What a group may be made by, in the order of the columns.
const GROUPS: [&str; 4] = ["project_id", "user_id", "api_key_id", "model"];
/// Groups of one answer, at most.
const GROUPS_MAX: u32 = 10_000;
/// The year 9999.
const TIME_MAX: i64 = 253_402_300_799;

/// A group that is not asked for is null, and all rows are in it.
const SELECT: &str = "SELECT started_at_ms / ?2,
        CASE WHEN ?5 THEN project_id END, CASE WHEN ?6 THEN user_id END,
        CASE WHEN ?7 THEN key_id END, CASE WHEN ?8 THEN model END,
        sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(model_calls),
        sum(estimated)
    FROM usage
    WHERE organization_id = ?1 AND started_at_ms >= ?3 AND started_at_ms < ?4
      AND (?9 IS NULL OR project_id IN (SELECT value FROM json_each(?9)))
      AND (?10 IS NULL OR user_id IN (SELECT value FROM json_each(?10)))
      AND (?11 IS NULL OR key_id IN (SELECT value FROM json_each(?11)))
      AND (?12 IS NULL OR model IN (SELECT value FROM json_each(?12)))
      AND (?13 IS NULL OR project_id = ?13)
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT ?14";

/// A question about usage. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    start: i64,
    end: i64,
    width: i64,
    /// Buckets of this page, at most.
    limit: i64,
    /// Where this page begins: `start`, or a later bucket's begin.
    from: i64,
    groups: [bool; 4],
    /// Projects, users, keys and models; none is all.
    only: [Option<Vec<String>>; 4],
}

/// `GET /v1/organization/usage/completions`.
pub async fn completions(
    database: &impl Database,
    who: &Principal,
    query: Option<&str>,
    now_ms: i64,
) -> Result<Answer, ApiError> {
    let own_project = scope(who)?;
    let asked = Asked::read(query, now_ms / 1_000)?;
    let (from, until) = asked.page();
    let only =
        |names: &Option<Vec<String>>| Value::from(names.as_ref().map(|n| json!(n).to_string()));
    let mut parameters = vec![
        Value::from(who.organization_id.as_str()),
        Value::from(asked.width * 1_000),
        Value::from(from * 1_000),
        Value::from(until * 1_000),
    ];
    parameters.extend(
        asked
            .groups
            .iter()
            .map(|group| Value::from(i64::from(*group))),
    );
    parameters.extend(asked.only.iter().map(only));
    parameters.push(Value::from(own_project));
    parameters.push(Value::from(GROUPS_MAX + 1));
    let rows = database.execute(SELECT, parameters).await?;
    if rows.len() > GROUPS_MAX as usize {
        let message = format!("More than {GROUPS_MAX} groups. Ask for fewer buckets or groups.");
        return Err(ApiError::invalid("limit", message));
    }
    Ok(asked.answer(&rows)?)
}

/// None is the whole organisation, else the one project that may be read.
fn scope(who: &Principal) -> Result<Option<&str>, ApiError> {
    if who.is(Role::Owner) || who.is(Role::Reader) {
        Ok(None)
    } else if who.is(Role::Member) {
        Ok(Some(&who.project_id))
    } else {
        Err(ApiError::forbidden("This API key may not read usage."))
    }
}

impl Asked {
    fn read(query: Option<&str>, now: i64) -> Result<Self, ApiError> {
        let mut query = Query::parse(query)?;
        let start = query.number("start_time", 0, TIME_MAX)?;
        let start = start.ok_or_else(|| ApiError::missing("start_time"))?;
        let end = query.number("end_time", 0, TIME_MAX)?;
        let width = query.one("bucket_width")?;
        // Defaults and maxima as OpenAI documents them.
        let (width, limit_default, limit_max) = match width.as_deref() {
            Some("1m") => (60, 60, 1_440),
            Some("1h") => (3_600, 24, 168),
            Some("1d") | None => (86_400, 7, 31),
            Some(_) => {
                let message = "'bucket_width' must be '1m', '1h' or '1d'.";
                return Err(ApiError::invalid("bucket_width", message));
            }
        };
        let limit = query
            .number("limit", 1, limit_max)?
            .unwrap_or(limit_default);
        let page = query.one("page")?;
        let groups = groups(query.many("group_by"))?;
        let only = ["project_ids", "user_ids", "api_key_ids", "models"]
            .map(|name| Some(query.many(name)).filter(|names| !names.is_empty()));
        query.finish()?;
        // Without an end it is now; what begins in the future has nothing yet.
        let end = end.unwrap_or(now.max(start + 1));
        if end <= start {
            let message = "'end_time' must be after 'start_time'.";
            return Err(ApiError::invalid("end_time", message));
        }
        let from = match page {
            None => start,
            Some(page) => page_begin(&page)
                .filter(|from| *from > start && *from < end && from % width == 0)
                .ok_or_else(|| {
                    let message = "'page' must be the 'next_page' of the same question.";
                    ApiError::invalid("page", message)
                })?,
        };
        Ok(Self {
            start,
            end,
            width,
            limit,
            from,
            groups,
            only,
        })
    }

    /// The begin of the bucket in which a time lies: a multiple of its width, in UTC.
    fn floor(&self, time: i64) -> i64 {
        time - time.rem_euclid(self.width)
    }

    /// What this page covers.
    fn page(&self) -> (i64, i64) {
        let until = self.floor(self.from) + self.limit * self.width;
        (self.from, until.min(self.end))
    }

    fn answer(&self, rows: &[Row]) -> Result<Answer, DatabaseError> {
        let (from, until) = self.page();
        let mut rows = rows.iter().peekable();
        let mut data = Vec::new();
        let mut begin = self.floor(from);
        while begin < until {
            let number = begin / self.width;
            let mut results = Vec::new();
            while let Some(row) = rows.next_if(|row| row.integer(0) == Ok(number)) {
                results.push(result(row)?);
            }
            data.push(json!({
                "object": "bucket",
                "start_time": begin.max(self.start),
                "end_time": (begin + self.width).min(self.end),
                "results": results,
            }));
            begin += self.width;
        }
        let next = (until < self.end).then(|| format!("page_{until}"));
        Ok(Answer::ok(json!({
            "object": "page",
            "data": data,
            "has_more": next.is_some(),
            "next_page": next,
        })))
    }
}

fn page_begin(page: &str) -> Option<i64> {
    page.strip_prefix("page_")?.parse().ok()
}

fn groups(names: Vec<String>) -> Result<[bool; 4], ApiError> {
    let mut groups = [false; 4];
    for name in names {
        let Some(index) = GROUPS.iter().position(|group| *group == name) else {
            let message = format!("'group_by' may be {}.", GROUPS.join(", "));
            return Err(ApiError::invalid("group_by", message));
        };
        groups[index] = true;
    }
    Ok(groups)
}

fn result(row: &Row) -> Result<Json, DatabaseError> {
    Ok(json!({
        "object": "organization.usage.completions.result",
        "input_tokens": row.integer(5)?,
        "output_tokens": row.integer(7)?,
        "input_cached_tokens": row.integer(6)?,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": row.integer(8)?,
        "num_estimated_requests": row.integer(9)?,
        "project_id": row.optional_text(1)?,
        "user_id": row.optional_text(2)?,
        "api_key_id": row.optional_text(3)?,
        "model": row.optional_text(4)?,
        "batch": null,
    }))
}

#[cfg(test)]
mod tests;
