-- The audit feed asks for each event of a user whether the user was a member of the reader's organization at that
-- position. These events are few, so the index is small and no other event pays for it.
CREATE INDEX events_of_members ON events (organization_id, user_id, seq)
    WHERE type IN ('member.added', 'member.removed');
