// This file lets the package declare main.main without a body.
