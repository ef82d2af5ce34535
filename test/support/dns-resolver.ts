/** Imported first: grpc-js asks the DNS server that an address names, instead of the system's. */
process.env['GRPC_NODE_USE_ALTERNATIVE_RESOLVER'] = 'true';
