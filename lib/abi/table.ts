/** The constants of a table: an object from each row's symbol to the number in its column `column`. */
export function constants<const R extends { readonly symbol: string }, C extends keyof R>(
  rows: readonly R[],
  column: C,
): { readonly [Row in R as Row['symbol']]: Row[C] };
// The overload states the names and values, which the compiler cannot see through fromEntries.
export function constants(
  rows: readonly { readonly symbol: string; readonly [column: string]: unknown }[],
  column: string,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(rows.map((row) => [row.symbol, row[column]]));
}
