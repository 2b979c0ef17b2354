-- A ledger of the row-lock kind: both accounts are locked in the order of their ids, and every transfer commits alone.
CREATE TABLE account (
    id bigint PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    unlimited boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (unlimited OR balance >= 0)
);
CREATE TABLE transfer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_id bigint NOT NULL REFERENCES account,
    credit_id bigint NOT NULL REFERENCES account,
    amount bigint NOT NULL CHECK (amount > 0),
    made_at timestamptz NOT NULL DEFAULT now(),
    CHECK (debit_id <> credit_id)
);
CREATE TABLE entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account,
    transfer_id bigint NOT NULL REFERENCES transfer,
    amount bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance_after bigint NOT NULL,
    account_version bigint NOT NULL
);
CREATE INDEX ON entry (account_id);
CREATE INDEX ON entry (transfer_id);

CREATE FUNCTION make_transfer(debit bigint, credit bigint, moved bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
    side record;
BEGIN
    PERFORM 1 FROM account WHERE id IN (debit, credit) ORDER BY id FOR UPDATE;
    INSERT INTO transfer (debit_id, credit_id, amount) VALUES (debit, credit, moved) RETURNING id INTO made;
    UPDATE account SET balance = balance - moved, version = version + 1, changed_at = now()
    WHERE id = debit RETURNING * INTO side;
    INSERT INTO entry (account_id, transfer_id, amount, balance_before, balance_after, account_version)
    VALUES (debit, made, -moved, side.balance + moved, side.balance, side.version);
    UPDATE account SET balance = balance + moved, version = version + 1, changed_at = now()
    WHERE id = credit RETURNING * INTO side;
    INSERT INTO entry (account_id, transfer_id, amount, balance_before, balance_after, account_version)
    VALUES (credit, made, moved, side.balance - moved, side.balance, side.version);
    RETURN made;
END $$;

INSERT INTO account (id, balance) SELECT number, 1000000000000 FROM generate_series(1, 1000) AS number;
