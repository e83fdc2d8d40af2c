use super::*;

const MAX: usize = 1_000_000;

type Keys = (String, Vec<String>);

fn batch(bytes: &[u8]) -> Result<Option<Keys>, ParameterError> {
    Keys::decoder(3).decode(&mut BytesMut::from(bytes))
}

#[test]
fn lengths_are_read_as_leb128() {
    assert!(matches!(length(&[]), Ok(None)));
    assert!(matches!(length(&[0x80]), Ok(None)));
    assert!(matches!(length(&[7, 9]), Ok(Some((7, [9])))));
    assert!(matches!(
        length(&[0xe5, 0x8e, 0x26]),
        Ok(Some((624_485, [])))
    ));
    let max = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(length(&max), Ok(Some((4_294_967_295, [])))));
    assert!(length(&[0xff, 0xff, 0xff, 0xff, 0x1f]).is_err());
    assert!(length(&[0x80; 6]).is_err());
}

#[test]
fn a_batch_is_decoded_only_with_a_list_that_is_short_enough() {
    let whole = batch(b"\x01b\x03\x01x\x00\x02yz").unwrap();
    let keys = ["x", "", "yz"].map(str::to_owned).to_vec();
    assert_eq!(whole, Some(("b".to_owned(), keys)));
    assert!(matches!(
        batch(b"\x01b\x04rest"),
        Err(ParameterError::TooMany(4))
    ));
    let lie = b"\x01b\xff\xff\xff\xff\x0f";
    assert!(matches!(
        batch(lie),
        Err(ParameterError::TooMany(4_294_967_295))
    ));
    for incomplete in [&b""[..], b"\x05", b"\x01b", b"\x01b\xff", b"\x01b\x02\x01x"] {
        assert!(matches!(batch(incomplete), Ok(None)), "{incomplete:?}");
    }
    for not_a_batch in [&b"\xff\xff\x7f"[..], b"\x01\xff\x00", b"\x01b\x01\x01\xff"] {
        let refused = matches!(batch(not_a_batch), Err(ParameterError::Malformed));
        assert!(refused, "{not_a_batch:?}");
    }
}

#[test]
fn a_list_takes_no_more_room_than_what_has_come_of_it() {
    let mut decoder = Keys::decoder(MAX);
    let mut sent = BytesMut::from(&b"\x01b\xc0\x84\x3d\x01x"[..]);
    assert!(matches!(decoder.decode(&mut sent), Ok(None)));
    let list = decoder.list.unwrap();
    assert_eq!((list.length, list.elements.len()), (MAX, 1));
    assert!(list.elements.capacity() < 100);
}

#[test]
fn the_room_for_a_list_counts_before_its_elements_have_come() {
    let mut decoder = Keys::decoder(MAX);
    // A list of 1000 keys. The first one is not all there.
    let mut sent = BytesMut::from(&b"\x01b\xe8\x07\xe8\x07"[..]);
    sent.resize(506, b'x');
    assert!(matches!(decoder.decode(&mut sent), Ok(None)));
    assert!(Keys::decoder_overhead(&decoder) >= 500 * size_of::<String>());
}

#[test]
fn a_key_or_value_that_lies_about_its_length_gets_no_room() {
    fn room<P: Parameters>(bytes: &[u8]) -> usize {
        let mut buffer = BytesMut::from(bytes);
        let decoded = P::decoder(3).decode(&mut buffer);
        assert!(matches!(decoded, Ok(None)), "{bytes:?}");
        buffer.capacity()
    }
    for lie in [
        &b"\x01b\xff\xff\xff\xff\x0f"[..],
        b"\x01b\xff\xff\xff\xff\x0fstart",
    ] {
        assert!(room::<(String, String)>(lie) < 1024);
        assert!(room::<(String, String, u64)>(lie) < 1024);
        assert!(room::<(String, String, Bytes)>(lie) < 1024);
    }
    let value = b"\x01b\x01k\xff\xff\xff\xff\x0fstart";
    assert!(room::<(String, String, Bytes)>(value) < 1024);
}
