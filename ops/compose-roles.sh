# The image of PostgreSQL sources this once, at the first start of compose.yaml's database: as whom the service logs in.
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -v password="$SERVICE_PASSWORD" <<'SQL'
CREATE ROLE counterfoil_service LOGIN PASSWORD :'password';
SQL
