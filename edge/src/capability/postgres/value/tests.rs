//! Values that come back from their binary forms, and what is none of its type.

use super::*;

fn round(value: PostgresValue, ty: &Type) -> PostgresValue {
    let mut raw = BytesMut::new();
    let written = Parameter::check(value).unwrap().to_sql(ty, &mut raw);
    match written.unwrap() {
        IsNull::Yes => Cell::from_sql_null(ty).unwrap().0,
        IsNull::No => Cell::from_sql(ty, &raw).unwrap().0,
    }
}

#[test]
fn every_value_comes_back() {
    use PostgresValue as P;
    let check = |value: P, ty: Type| assert_eq!(round(value.clone(), &ty), value, "{ty}");
    let bound = |value: i32, inclusive| Some(PostgresBound { value, inclusive });
    let text = |value: &str| value.to_owned();
    check(P::Boolean(true), Type::BOOL);
    check(P::Int16(-2), Type::INT2);
    check(P::Int32(-3), Type::INT4);
    check(P::Int64(i64::MIN), Type::INT8);
    check(P::Floating32(0.5), Type::FLOAT4);
    check(P::Floating64(-0.25), Type::FLOAT8);
    check(P::Text(text("ü")), Type::VARCHAR);
    check(P::Binary(vec![0, 255]), Type::BYTEA);
    check(P::Date((2026, 7, 28)), Type::DATE);
    check(P::Time((23, 59, 59, 999_999_000)), Type::TIME);
    check(
        P::Datetime((2026, 7, 28, 1, 2, 3, 4_000)),
        Type::TIMESTAMPTZ,
    );
    check(
        P::Uuid(text("00112233-4455-6677-8899-aabbccddeeff")),
        Type::UUID,
    );
    check(P::Jsonb(b"{\"a\": [1, null]}".to_vec()), Type::JSONB);
    check(P::Decimal(text("-12345.6780")), Type::NUMERIC);
    check(
        P::RangeInt32((bound(1, true), bound(9, false))),
        Type::INT4_RANGE,
    );
    check(P::RangeInt64((None, None)), Type::INT8_RANGE);
    let decimal = Some(PostgresBound {
        value: text("1.5"),
        inclusive: false,
    });
    check(P::RangeDecimal((decimal, None)), Type::NUM_RANGE);
    check(P::ArrayInt32(vec![Some(1), None]), Type::INT4_ARRAY);
    check(P::ArrayInt64(vec![]), Type::INT8_ARRAY);
    check(
        P::ArrayDecimal(vec![Some(text("0.10")), None]),
        Type::NUMERIC_ARRAY,
    );
    check(P::ArrayText(vec![Some(text("a")), None]), Type::TEXT_ARRAY);
    let interval = P::Interval {
        micros: -1,
        days: 2,
        months: -3,
    };
    check(interval, Type::INTERVAL);
    check(P::Null, Type::INET);
}

#[test]
fn a_value_that_is_none_of_its_type_is_a_bad_parameter() {
    use PostgresValue as P;
    for (value, expect) in [
        (P::Uuid("0011".to_owned()), "invalid UUID"),
        (
            P::Uuid("0011223344556677-8899-aabbccddeeff--".to_owned()),
            "invalid UUID",
        ),
        (P::Jsonb(b"{".to_vec()), "invalid JSON"),
        (P::Decimal("1e5".to_owned()), "invalid decimal"),
        (
            P::ArrayDecimal(vec![Some("x".to_owned())]),
            "invalid decimal",
        ),
        (P::Date((2026, 2, 30)), "invalid date"),
        (P::Time((24, 0, 0, 0)), "invalid time"),
        (P::Timestamp(i64::MAX), "invalid epoch"),
    ] {
        let error = Parameter::check(value).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn a_value_is_not_taken_for_another_type() {
    let parameter = Parameter::check(PostgresValue::Date((2026, 1, 1))).unwrap();
    assert!(parameter.to_sql(&Type::INT4, &mut BytesMut::new()).is_err());
    let text = Parameter::check(PostgresValue::Text("1".to_owned())).unwrap();
    assert!(text.to_sql(&Type::INT4, &mut BytesMut::new()).is_err());
}

#[test]
fn json_goes_to_both_of_its_types() {
    let written = |ty: &Type| {
        let mut raw = BytesMut::new();
        let parameter = Parameter::check(PostgresValue::Jsonb(b"[1]".to_vec())).unwrap();
        parameter.to_sql(ty, &mut raw).unwrap();
        raw.to_vec()
    };
    assert_eq!(written(&Type::JSON), b"[1]");
    assert_eq!(written(&Type::JSONB), b"\x01[1]");
}
