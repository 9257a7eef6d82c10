-- A session acts in one organization unless a request says otherwise, as a token acts in the one where it was issued.
-- Sessions from before are over: their people sign in again.
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN organization_id uuid NOT NULL;
