"""Contract with clients and operators: topology, AsyncAPI document, ACLs."""
