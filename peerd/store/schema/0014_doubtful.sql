-- Records of ours that stay in a merge because the snapshot's maker may have lost them: what each is otherwise (NULL:
-- nothing), and by how much the two differ in the digest, as a signed number; `bucket` is that of the digest.
CREATE TABLE incoming_doubtful (
    collection INTEGER NOT NULL,
    key        TEXT NOT NULL,
    bucket     INTEGER NOT NULL,
    difference INTEGER NOT NULL,
    stamps     BLOB,
    body       BLOB,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
