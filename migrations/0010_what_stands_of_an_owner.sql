-- What stands of an owner, and what ended lately, is found without reading all that ended before: of a user's tokens there
-- may be hundreds of thousands.
CREATE INDEX tokens_of_user_by_end ON tokens (user_id, ended_seq) WHERE user_id IS NOT NULL;
CREATE INDEX tokens_of_gateway_by_end ON tokens (gateway_id, ended_seq) WHERE gateway_id IS NOT NULL;
