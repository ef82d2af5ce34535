/**
 * Errors name a field of a request by its path in the proto file, as google.rpc.BadRequest does:
 * `images[0].data`, `decoding.max_tokens`, `page_size`. Domain code knows options by their names in
 * TypeScript (`decoding.maxTokens`), so the error border translates, here and nowhere else. The keys
 * within a JSON document (`config_json.stage2.encoderRate`) are the document's own and stay.
 */
export function fieldPath(field: string): string {
  const [path = '', ...json] = field.split(/(?<=_json)(?=[.[])/);
  return (
    path.replaceAll(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) + json.join('')
  );
}
