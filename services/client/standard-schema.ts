/** The interface of Standard Schema (standardschema.dev), as far as it is used here: zod, valibot, arktype and others implement it, and no package is needed. */

export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  };
}
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

type TypesOf<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>;
/** What a schema takes. */
export type SchemaInput<Schema extends StandardSchema> = TypesOf<Schema>["input"];
/** What a schema makes of it. */
export type SchemaOutput<Schema extends StandardSchema> = TypesOf<Schema>["output"];
